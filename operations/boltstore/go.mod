module github.com/a0b132ce/retryablehttp/operations/boltstore

go 1.25.0

require (
	github.com/a0b132ce/retryablehttp v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	go.etcd.io/bbolt v1.5.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/a0b132ce/retryablehttp => ../../
