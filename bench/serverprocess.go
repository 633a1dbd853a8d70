package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// serverProcess is the server, seen from the client's side.
type serverProcess struct {
	addresses
	cmd     *exec.Cmd
	stdin   io.Closer
	control http.Client
}

func startServer() (*serverProcess, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serverEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &serverProcess{cmd: cmd, stdin: stdin, control: http.Client{Transport: newTransport(), Timeout: 10 * time.Second}}
	if err := json.NewDecoder(stdout).Decode(&s.addresses); err != nil {
		s.stop()
		return nil, fmt.Errorf("server did not start: %w", err)
	}
	return s, nil
}

func (s *serverProcess) stop() {
	s.control.CloseIdleConnections()
	s.stdin.Close()
	s.cmd.Wait()
}

// accepted is how many connections the server has accepted on Data so far.
func (s *serverProcess) accepted() (n int64, err error) {
	err = s.ask("/accepted", &n)
	return n, err
}

// seen is what the server knows of a key.
func (s *serverProcess) seen(key string) (k seen, err error) {
	err = s.ask("/seen/"+key, &k)
	return k, err
}

func (s *serverProcess) ask(path string, answer any) error {
	resp, err := s.control.Get(s.Control + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}
