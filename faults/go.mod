module github.com/a0b132ce/retryablehttp/faults

go 1.25.0

require (
	github.com/a0b132ce/retryablehttp v0.0.0-00010101000000-000000000000
	github.com/a0b132ce/retryablehttp/retrytest v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.58.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.41.0 // indirect
)

replace (
	github.com/a0b132ce/retryablehttp => ../
	github.com/a0b132ce/retryablehttp/retrytest => ../retrytest
)
