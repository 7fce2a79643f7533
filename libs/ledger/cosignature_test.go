package ledger_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"

	"headgate.dev/libs/ledger"
)

func TestOnlyTheWitnessesOwnWordIsTaken(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := append([]byte{4}, public...)
	hash := sha256.Sum256(append([]byte("w.example\n"), key...))
	text := fmt.Sprintf("w.example+%x+%s", hash[:4], base64.StdEncoding.EncodeToString(key))
	w, err := ledger.ParseWitness(text)
	if err != nil {
		t.Fatal(err)
	}
	body := "log\n3\nAAAA\n"
	checkpoint := body + "\n— log " + base64.StdEncoding.EncodeToString(make([]byte, 68)) + "\n"
	line := func(over string, at, said uint64) string {
		sig := ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, over))
		return "— w.example " + base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(append([]byte{}, hash[:4]...), said), sig...)) + "\n"
	}
	got, at, err := w.Cosigned(checkpoint, line(body, 1800000000, 1800000000))
	if err != nil || at.Unix() != 1800000000 || got != checkpoint+line(body, 1800000000, 1800000000) {
		t.Errorf("%q at %s, %v", got, at, err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "no note": "hello", "another checkpoint": line("log\n4\nAAAA\n", 5, 5), "another time": line(body, 5, 6),
		"the log's own way": "— w.example " + base64.StdEncoding.EncodeToString(append(append([]byte{}, hash[:4]...), ed25519.Sign(private, []byte(body))...)) + "\n",
	} {
		if _, _, err := w.Cosigned(checkpoint, bad); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, bad := range []string{"", "w.example", "w.example+00000000+" + base64.StdEncoding.EncodeToString(key), fmt.Sprintf("other+%x+%s", hash[:4], base64.StdEncoding.EncodeToString(key))} {
		if _, err := ledger.ParseWitness(bad); err == nil {
			t.Errorf("%q was taken for a key", bad)
		}
	}
}
