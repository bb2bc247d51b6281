package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// readObjects reads the files, folders or, for "-", the standard input that
// -f names. Everything is decoded and checked before anything is sent. The
// objects are in the order in which they must be applied.
func (a *app) readObjects(paths []string, recursive bool) ([]intent.Object, error) {
	if len(paths) == 0 {
		return nil, usageError{errors.New("say what to read with -f FILE, -f DIR or -f -")}
	}
	tenant, err := a.tenant()
	if err != nil {
		return nil, err
	}
	var objects []intent.Object
	var errs []error
	read := func(name string, b []byte) {
		os, err := intent.Decode(b, name)
		errs = append(errs, err)
		for _, o := range os {
			if o.Ref().Kind.Tenanted() && o.Meta().Tenant == "" {
				o.Meta().Tenant = tenant
			}
			if o.Ref().Kind.Tenanted() && o.Meta().Tenant == "" {
				errs = append(errs, fmt.Errorf("%s: %s %s: metadata.tenant: is missing: write it or give -t", name, o.Ref().Kind, o.Ref().Name))
			} else if err := o.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		objects = append(objects, os...)
	}
	for _, p := range paths {
		if p == "-" {
			b, err := io.ReadAll(a.in)
			errs = append(errs, err)
			read("standard input", b)
			continue
		}
		files, err := filesOf(p, recursive)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			read(f, b)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s: there is no object in it", strings.Join(paths, ", "))
	}
	if err := twice(objects); err != nil {
		return nil, err
	}
	slices.SortStableFunc(objects, func(a, b intent.Object) int {
		return slices.Index(intent.Kinds(), a.Ref().Kind) - slices.Index(intent.Kinds(), b.Ref().Kind)
	})
	return objects, nil
}

func twice(objects []intent.Object) error {
	seen := map[intent.Ref]bool{}
	for _, o := range objects {
		if seen[o.Ref()] {
			return fmt.Errorf("%s is given twice", o.Ref())
		}
		seen[o.Ref()] = true
	}
	return nil
}

// filesOf lists a file, or the .yaml, .yml and .json files of a folder.
func filesOf(path string, recursive bool) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return []string{path}, err
	}
	var out []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != path && !recursive {
			return filepath.SkipDir
		}
		if e := filepath.Ext(p); !d.IsDir() && (e == ".yaml" || e == ".yml" || e == ".json") {
			out = append(out, p)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s has no .yaml, .yml or .json file", path)
	}
	return out, err
}
