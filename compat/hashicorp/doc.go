// Package retryablehttp forwards the names of github.com/hashicorp/go-retryablehttp
// v0.7.8 to [github.com/a0b132ce/retryablehttp]. Its types are aliases, and its functions
// call the functions of the same name. All of them are documented there.
//
// This module declares the path of the module that it replaces. To move a program and its
// dependencies to that library without a change to their source, add these lines to the
// program's go.mod, with the path of your clone in place of ../retryablehttp, and run
// go mod tidy:
//
//	replace github.com/hashicorp/go-retryablehttp => ../retryablehttp/compat/hashicorp
//	replace github.com/a0b132ce/retryablehttp => ../retryablehttp
//
// The second line is needed because Go ignores the replace lines of dependencies.
// go mod tidy adds an indirect requirement on github.com/a0b132ce/retryablehttp. The
// requirement on github.com/hashicorp/go-retryablehttp stays; its version has no effect.
package retryablehttp
