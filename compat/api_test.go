package compat

import (
	"fmt"
	"go/types"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"
)

func TestForwardingPackageHasEveryPublishedName(t *testing.T) {
	published := api(load(t, ".", publishedPath).Types)
	require.Contains(t, published, "func DefaultRetryPolicy(context.Context, *net/http.Response, error) (bool, error)")
	require.Contains(t, published, "*Client has the method Do(*Request) (*net/http.Response, error)")
	require.Contains(t, published, "Client has the field RetryMax int")

	forwarded := api(load(t, "hashicorp", ".").Types)
	missing := slices.DeleteFunc(published, func(line string) bool {
		// The published method is http.Request.Clone; this library's returns a *Request.
		return slices.Contains(forwarded, line) || strings.Contains(line, "Request has the method Clone(")
	})
	assert.Empty(t, missing)
}

// load returns the package that pattern names in the module at dir.
func load(t *testing.T, dir, pattern string) *packages.Package {
	t.Helper()
	mode := packages.NeedName | packages.NeedTypes | packages.NeedModule
	pkgs, err := packages.Load(&packages.Config{Mode: mode, Dir: dir}, pattern)
	require.NoError(t, err)
	require.Len(t, pkgs, 1)
	require.Empty(t, pkgs[0].Errors, "cannot load %s; a published module is loaded from the module cache or downloaded", pattern)
	return pkgs[0]
}

// api returns a line for each exported name of pkg, field and method. Packages
// that export the same names with the same types have the same lines.
func api(pkg *types.Package) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, name := range pkg.Scope().Names() {
		object := pkg.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		typeName, ok := object.(*types.TypeName)
		if !ok {
			add("%s %s%s", kind(object), name, shape(object.Type()))
			continue
		}
		typ := types.Unalias(typeName.Type())
		switch underlying := typ.Underlying().(type) {
		case *types.Struct:
			add("type %s struct", name)
			for field := range underlying.Fields() {
				if field.Exported() {
					add("%s has the field %s %s", name, field.Name(), shape(field.Type()))
				}
			}
		case *types.Interface:
			add("type %s interface", name)
		default:
			add("type %s %s", name, shape(underlying))
		}
		for _, receiver := range []types.Type{typ, types.NewPointer(typ)} {
			for method := range types.NewMethodSet(receiver).Methods() {
				if method.Obj().Exported() {
					add("%s has the method %s%s", shape(receiver), method.Obj().Name(), shape(method.Type()))
				}
			}
		}
	}
	return lines
}

// kind returns the keyword that declares object: func, var or const.
func kind(object types.Object) string {
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", object), "*types."))
}

// shape returns typ as text. It omits the names of parameters, and the path of a
// package called retryablehttp.
func shape(typ types.Type) string {
	signature, ok := typ.(*types.Signature)
	if !ok {
		text := types.TypeString(typ, func(p *types.Package) string {
			if p.Name() == "retryablehttp" {
				return ""
			}
			return p.Path()
		})
		return strings.ReplaceAll(text, "interface{}", "any")
	}
	list := func(tuple *types.Tuple) string {
		var shapes []string
		for v := range tuple.Variables() {
			shapes = append(shapes, shape(v.Type()))
		}
		return strings.Join(shapes, ", ")
	}
	params := list(signature.Params())
	if signature.Variadic() {
		params += "..."
	}
	switch signature.Results().Len() {
	case 0:
		return "(" + params + ")"
	case 1:
		return "(" + params + ") " + list(signature.Results())
	}
	return "(" + params + ") (" + list(signature.Results()) + ")"
}
