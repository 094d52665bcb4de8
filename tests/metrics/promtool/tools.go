//go:build tools

// Package promtool pins the program that checks the alert rules: go build -tags remove_all_sd -o promtool github.com/prometheus/prometheus/cmd/promtool
package promtool

import _ "github.com/prometheus/prometheus/cmd/promtool"
