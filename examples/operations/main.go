// Operations runs a job that outlives the client that asked for it, the connection, and the
// server. A server process accepts jobs and stores them on disk. A client process begins
// one and is killed. The server is killed in the middle of the job and started again. A
// second client process goes on with the token that the first one has left, and gets the
// result.
//
//	go -C examples/operations run .
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 { // one of the processes that run starts
		role, args := os.Args[1], os.Args[2:]
		switch role {
		case "server":
			serve(args[0], args[1])
		case "begin":
			begin(args[0], args[1])
		case "resume":
			resume(args[0], args[1])
		}
		return
	}
	dir := must(os.MkdirTemp("", "operations"))
	defer os.RemoveAll(dir)
	run(filepath.Join(dir, "jobs.db"), filepath.Join(dir, "token"))
}

func run(database, token string) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	address := listener.Addr().String()
	listener.Close()
	endpoint := "http://" + address

	server := start("server", database, address)
	server.waitFor("ready")
	client := start("begin", endpoint, token)
	client.waitFor("token saved")
	server.waitFor("half of it is done")

	fmt.Println("main: kills the client and the server")
	client.kill()
	server.kill()

	server = start("server", database, address)
	server.waitFor("ready")
	defer server.kill()
	second := start("resume", endpoint, token)
	second.waitFor(`the report "The year" has 7 pages`)
	if err := second.cmd.Wait(); err != nil {
		log.Fatal("main: ", err)
	}
	fmt.Println("main: the second client has the result of the job that the first one began")
}

// process is this program again, in another role. What it prints is shown.
type process struct {
	role  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func start(role string, args ...string) *process {
	cmd := exec.Command(must(os.Executable()), append([]string{role}, args...)...)
	cmd.Stderr = os.Stderr
	out := must(cmd.StdoutPipe())
	check(cmd.Start())
	return &process{role, cmd, bufio.NewScanner(out)}
}

// waitFor shows what the process prints, up to a line.
func (p *process) waitFor(line string) {
	for p.lines.Scan() {
		fmt.Printf("%s: %s\n", p.role, p.lines.Text())
		if p.lines.Text() == line {
			return
		}
	}
	log.Fatalf("main: %s has ended before it said %q", p.role, line)
}

func (p *process) kill() {
	check(p.cmd.Process.Kill())
	p.cmd.Wait() // the error is that it was killed
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
