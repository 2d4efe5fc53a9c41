// Package web is the page that shows a cluster coming up: three files, nothing
// from elsewhere and nothing to build.
package web

import (
	"embed"
	"io/fs"
)

//go:embed page
var embedded embed.FS

// Files are index.html and what it needs.
var Files = page()

func page() fs.FS {
	files, err := fs.Sub(embedded, "page")
	if err != nil {
		panic(err) // The folder is part of the program.
	}
	return files
}
