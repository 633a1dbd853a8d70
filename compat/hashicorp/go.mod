module github.com/hashicorp/go-retryablehttp

go 1.25.0

require github.com/a0b132ce/retryablehttp v0.0.0-00010101000000-000000000000

require github.com/hashicorp/go-cleanhttp v0.5.2 // indirect

replace github.com/a0b132ce/retryablehttp => ../../
