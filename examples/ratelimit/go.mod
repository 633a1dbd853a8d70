module github.com/a0b132ce/retryablehttp/examples/ratelimit

go 1.25.0

require (
	github.com/a0b132ce/retryablehttp v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
	golang.org/x/time v0.15.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/a0b132ce/retryablehttp => ../..
