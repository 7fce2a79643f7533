package resource

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads files and directories; "-" is the standard input. Of a directory it takes every *.yaml, *.yml and *.json below it, in the order of their
// names, and nothing that is hidden. It returns all resources or a fault that names every problem of every file.
func Load(paths ...string) ([]Located, error) {
	var located []Located
	var problems []problem
	for _, path := range paths {
		files, more := expand(path)
		problems = append(problems, more...)
		for _, file := range files {
			data, err := read(file)
			if err != nil {
				problems = append(problems, problem{file: display(file), text: "cannot be read: " + reason(err)})
				continue
			}
			found, more := parse(display(file), data)
			located, problems = append(located, found...), append(problems, more...)
		}
	}
	problems = append(problems, twice(located)...)
	if err := refuse(problems); err != nil {
		return nil, err
	}
	return located, nil
}

// expand lists the files of a path.
func expand(path string) ([]string, []problem) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, []problem{{file: path, text: "cannot be read: " + reason(err)}}
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case file != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(file))):
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		return nil, []problem{{file: path, text: "cannot be read: " + reason(err)}}
	}
	if len(files) == 0 {
		return nil, []problem{{file: path, text: "the directory has no *.yaml, *.yml or *.json file"}}
	}
	return files, nil
}

// read takes one byte more than is allowed, so that Parse sees that it is too much.
func read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, MaxFileBytes+1))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
}

func display(file string) string {
	if file == "-" {
		return "stdin"
	}
	return file
}

// reason leaves the path out of a file error, which the caller has named.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}
