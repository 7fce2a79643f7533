package cli

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"

	"google.golang.org/protobuf/encoding/protojson"

	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

// progress is how far an export came, in a file beside the part that is written. Lines of JSON say it themselves and need none.
type progress struct {
	path    string
	request *auditv1.ExportRequest
}

// reached is what that file holds: so many bytes of the part are whole, and the request goes on behind them.
type reached struct {
	Bytes   int64           `json:"bytes"`
	Request json.RawMessage `json:"request"`
}

// note keeps how far the file is whole after a message. It replaces what was there at once, so that one who is killed leaves the older place or this one.
func (p *progress) note(file io.Seeker, m *auditv1.ExportResponse) error {
	if m.GetSize() == 0 {
		return nil
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	next := &auditv1.ExportRequest{
		Tenant: p.request.GetTenant(), Filter: p.request.GetFilter(), Format: p.request.GetFormat(), Size: m.GetSize(), NextIndex: m.GetNextIndex(),
	}
	request, err := protojson.Marshal(next)
	if err != nil {
		return err
	}
	data, err := json.Marshal(reached{at, request})
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(p.path+".new", p.path)
}

// goOn makes the request one for what the file lacks, and cuts what is not whole behind its last line.
func (p *progress) goOn(file *os.File) error {
	if p.request.GetFormat() == auditv1.Format_FORMAT_JSONL {
		return goOn(file, p.request)
	}
	anew := func(why string) error {
		return fault.Invalid("The file %s is no export that can be continued: %s. Remove it to make the export anew, without --resume.", file.Name(), why)
	}
	data, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return anew("there is no " + p.path + " beside it, which says how far it came")
	}
	if err != nil {
		return err
	}
	var at reached
	kept := &auditv1.ExportRequest{}
	if json.Unmarshal(data, &at) != nil || protojson.Unmarshal(at.Request, kept) != nil {
		return anew(p.path + " is damaged")
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch {
	case kept.GetFormat() != p.request.GetFormat():
		return anew("it has another format than --format says")
	case info.Size() < at.Bytes:
		return anew("it is shorter than " + p.path + " says")
	case kept.GetNextIndex() == 0:
		at.Bytes = 0 // nothing but the names of the columns, which the answer begins with
	}
	p.request.Tenant, p.request.Filter, p.request.Size, p.request.NextIndex = kept.GetTenant(), kept.GetFilter(), kept.GetSize(), kept.GetNextIndex()
	if err := file.Truncate(at.Bytes); err != nil {
		return err
	}
	_, err = file.Seek(at.Bytes, io.SeekStart)
	return err
}

// over removes the file: the export is whole.
func (p *progress) over() error {
	if err := os.Remove(p.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
