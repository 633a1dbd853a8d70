module github.com/a0b132ce/retryablehttp/nginxtest

go 1.25.0

replace github.com/a0b132ce/retryablehttp => ../

require (
	github.com/a0b132ce/retryablehttp v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
