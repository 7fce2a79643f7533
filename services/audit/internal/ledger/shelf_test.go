package ledger_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// shelf speaks as much of S3 as the ledger and its tests ask, versions and locks among it, and fails when it is told.
type shelf struct {
	server *httptest.Server

	mu                 sync.Mutex
	locks              map[string]bool     // of a bucket
	versions           map[string][]object // of bucket/key, the newest last
	down, forgetsLocks bool
	hangs              chan struct{} // requests wait until it is closed
}

// hang lets requests wait, or go on.
func (s *shelf) hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.hangs = make(chan struct{})
		return
	}
	close(s.hangs)
	s.hangs = nil
}

type object struct {
	data        []byte
	mode, until string
	deleted     bool // a mark without data
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{locks: map[string]bool{}, versions: map[string][]object{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

func (s *shelf) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	waits := s.hangs
	s.mu.Unlock()
	if waits != nil {
		<-waits
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/")
	bucket, key, _ := strings.Cut(path, "/")
	switch {
	case s.down:
		refuse(w, http.StatusServiceUnavailable, "SlowDown", "Reduce your request rate.")
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		refuse(w, http.StatusForbidden, "AccessDenied", "Sign it.")
	case key == "":
		s.locks[bucket] = r.Header.Get("x-amz-bucket-object-lock-enabled") == "true"
	case r.Method == http.MethodPut:
		s.put(w, r, bucket, path)
	default:
		s.give(w, r, path)
	}
}

func (s *shelf) put(w http.ResponseWriter, r *http.Request, bucket, path string) {
	data, err := io.ReadAll(r.Body)
	made := object{data: data, mode: r.Header.Get("x-amz-object-lock-mode"), until: r.Header.Get("x-amz-object-lock-retain-until-date")}
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "IncompleteBody", err.Error())
		return
	case made.mode != "" && r.Header.Get("x-amz-sdk-checksum-algorithm") == "":
		refuse(w, http.StatusBadRequest, "InvalidRequest", "Content-MD5 or x-amz-sdk-checksum-algorithm header required.")
		return
	case made.mode != "" && !s.locks[bucket]:
		refuse(w, http.StatusBadRequest, "InvalidRequest", "Bucket is missing Object Lock Configuration")
		return
	case s.forgetsLocks:
		made.mode, made.until = "", ""
	}
	s.versions[path] = append(s.versions[path], made)
	w.Header().Set("x-amz-version-id", fmt.Sprint(len(s.versions[path])))
}

func (s *shelf) give(w http.ResponseWriter, r *http.Request, path string) {
	if r.Method == http.MethodDelete && !r.URL.Query().Has("versionId") {
		s.versions[path] = append(s.versions[path], object{deleted: true})
		return
	}
	version := len(s.versions[path])
	if asked := r.URL.Query().Get("versionId"); asked != "" {
		_, _ = fmt.Sscan(asked, &version)
	}
	if version < 1 || version > len(s.versions[path]) {
		refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	o := s.versions[path][version-1]
	if o.deleted {
		w.Header().Set("x-amz-delete-marker", "true")
		refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	if r.Method == http.MethodDelete && o.mode == "" {
		s.versions[path] = append(s.versions[path][:version-1], s.versions[path][version:]...)
		return
	}
	if r.Method == http.MethodDelete {
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied because object protected by object lock.")
		return
	}
	w.Header().Set("x-amz-version-id", fmt.Sprint(version))
	if o.mode != "" {
		w.Header().Set("x-amz-object-lock-mode", o.mode)
		w.Header().Set("x-amz-object-lock-retain-until-date", o.until)
	}
	_, _ = w.Write(o.data)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}
