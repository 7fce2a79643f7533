package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"headgate.dev/libs/fault"
)

// outFile is the file that evidence is written to; - is standard output. What is there already stays, unless it may be replaced.
type outFile struct {
	path  string
	force bool
}

func (t *outFile) add(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&t.path, "out", otherwise, "the file to write; - is standard output")
	cmd.Flags().BoolVar(&t.force, "force", false, "replace the file if it is there already")
}

// free refuses a file that is there already. What is no file, as a pipe, loses nothing.
func (t *outFile) free() error {
	if t.path == "-" || t.force {
		return nil
	}
	if info, err := os.Stat(t.path); err != nil || !info.Mode().IsRegular() {
		return nil // whoever opens it says what is wrong
	}
	return fault.Invalid("The file %s is there already, and it may be evidence. Name another with --out, or replace it with --force.", t.path)
}

// write gives the file its name when it is whole; what is not whole is removed: it would pass for evidence.
func (t *outFile) write(stdout io.Writer, content func(io.Writer) error) error {
	if t.path == "-" {
		return content(stdout)
	}
	if info, err := os.Stat(t.path); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(t.path, os.O_WRONLY, 0)
		if err != nil {
			return t.cannot(err)
		}
		return errors.Join(content(file), file.Close())
	}
	file, err := os.CreateTemp(filepath.Dir(t.path), filepath.Base(t.path)+".*")
	if err != nil {
		return t.cannot(err)
	}
	err = errors.Join(content(file), file.Sync(), file.Close())
	if err == nil {
		err = t.free()
	}
	if err == nil {
		err = os.Rename(file.Name(), t.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func (t *outFile) cannot(err error) error {
	return fault.Invalid("The file %s cannot be written: %v. Name another with --out.", t.path, err)
}
