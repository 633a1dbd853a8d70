module github.com/a0b132ce/retryablehttp/examples/operations

go 1.25.0

require (
	github.com/a0b132ce/retryablehttp v0.0.0-00010101000000-000000000000
	github.com/a0b132ce/retryablehttp/operations/boltstore v0.0.0-00010101000000-000000000000
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace (
	github.com/a0b132ce/retryablehttp => ../..
	github.com/a0b132ce/retryablehttp/operations/boltstore => ../../operations/boltstore
)
