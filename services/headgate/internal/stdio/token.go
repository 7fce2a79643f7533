package stdio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"headgate.dev/libs/secret"
)

// maxToken is the most bytes that a token has. Access tokens that are JSON Web Tokens have some hundred.
const maxToken = 16 << 10

// Tokens gives the access token of each request. Safe for concurrent use.
type Tokens interface {
	// Token is the token to send now. With again it is asked for because the gateway did not take the last one. Its errors are sentences for the person who
	// set it up and never hold a token.
	Token(again bool) (secret.String, error)
	// Advice says what to do about a token that the gateway does not take.
	Advice() string
}

// Given is one token for as long as the bridge runs.
func Given(token secret.String) (Tokens, error) {
	if err := fit(token.Reveal()); err != nil {
		return nil, fmt.Errorf("the access token %w", err)
	}
	return given{token}, nil
}

type given struct{ token secret.String }

// Token implements Tokens.
func (g given) Token(bool) (secret.String, error) { return g.token, nil }

// Advice implements Tokens.
func (g given) Advice() string {
	return "Get a new token, set it as HEADGATE_TOKEN where your client starts headgate, and let the client start it again."
}

// File is a token in a file that nobody but its owner can read. It is read again when it changes. Safe for concurrent use.
type File struct {
	path string

	mu    sync.Mutex
	seen  fs.FileInfo // of the file that token is from; nil after a failure
	token secret.String
}

// TokenFile reads the file for the first time.
func TokenFile(path string) (*File, error) {
	f := &File{path: path}
	if _, err := f.Token(false); err != nil {
		return nil, err
	}
	return f, nil
}

// Token implements Tokens.
func (f *File) Token(again bool) (secret.String, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err == nil && !again && f.seen != nil && os.SameFile(info, f.seen) &&
		info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() && info.Mode() == f.seen.Mode() {
		return f.token, nil
	}
	f.seen = nil
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file %s cannot be read: %w", f.path, cause(err))
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return secret.String{}, fmt.Errorf("the token file %s is not a file", f.path)
	}
	return f.read()
}

func (f *File) read() (secret.String, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file %s cannot be read: %w", f.path, cause(err))
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat() // of what is read, not of what had this name before
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file %s cannot be read: %w", f.path, cause(err))
	}
	if info.Mode().Perm()&0o077 != 0 {
		return secret.String{}, fmt.Errorf("the token file %s can be read by others (mode %04o): run chmod 600 %s, and get a new token if others use this computer",
			f.path, info.Mode().Perm(), f.path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxToken+2))
	if err != nil {
		return secret.String{}, fmt.Errorf("the token file %s cannot be read: %w", f.path, cause(err))
	}
	token := strings.TrimSpace(string(text))
	if err := fit(token); err != nil {
		return secret.String{}, fmt.Errorf("the token file %s %w", f.path, err)
	}
	f.seen, f.token = info, secret.New(token)
	return f.token, nil
}

// Advice implements Tokens.
func (f *File) Advice() string {
	return "Get a new token and write it into " + f.path + "; it is read again by itself."
}

// fit refuses what no bearer token looks like (RFC 6750, 2.1): nothing, more than one word, or what a header cannot carry.
func fit(token string) error {
	switch {
	case token == "":
		return errors.New("is empty")
	case len(token) > maxToken:
		return fmt.Errorf("has more than %d bytes: it is no access token", maxToken)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("holds more than one access token, or something else: it must be one word of ASCII text")
		}
	}
	return nil
}

// cause is what the system said, without the path that the sentence names already.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
