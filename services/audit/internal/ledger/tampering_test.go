package ledger_test

import (
	"path/filepath"
	"slices"
	"strings"
)

// tampering is one kind: what is done, and what is said of it, word for word; a star stands for what no test can know.
type tampering struct {
	rotated       bool
	do            func(e evidence) evidence
	ledger, place []string
}

const segment0 = "records/00000000000000000000.seg"

func tamperings(honest, rotated, fork, stranger evidence) map[string]tampering {
	out := map[string]tampering{}
	for _, some := range []map[string]tampering{ofRecords(fork), ofTheTree(), ofCheckpoints(honest, fork), ofKeys(rotated, stranger), ofTiles("ledger", fork), ofTiles("place", fork)} {
		for name, c := range some {
			out[name] = c
		}
	}
	return out
}

func in(do func(e evidence)) func(evidence) evidence {
	return func(e evidence) evidence { do(e); return e }
}

func ofRecords(fork evidence) map[string]tampering {
	return map[string]tampering{
		"a byte of a record": {do: in(func(e evidence) { e.flip(e.dir, segment0, 30) }), ledger: []string{
			"record 0 cannot be read: the record is not whole: its checksum is another",
		}},
		"a record written anew": {do: in(func(e evidence) { e.rewrite() }), ledger: []string{
			"record 0 (event edge-1-1) was changed: its bytes do not have the hash that the log has",
		}},
		"two records exchanged": {do: in(func(e evidence) { e.swap(e.dir, "spots", 4*16, 5*16, 8) }), ledger: []string{
			"record 4 (event edge-2-3) begins at byte 459 of the files of records, and the one before it ends at byte 352: something was added, dropped or moved",
			"record 4 (event edge-2-3) was changed: its bytes do not have the hash that the log has",
			"record 5 (event edge-1-3) begins at byte 352 of the files of records, and the one before it ends at byte 564: something was added, dropped or moved",
			"record 5 (event edge-1-3) was changed: its bytes do not have the hash that the log has",
			"record 6 (event edge-1-4) begins at byte 564 of the files of records, and the one before it ends at byte 459: something was added, dropped or moved",
		}},
		"bytes added between records": {do: in(func(e evidence) {
			e.put(e.dir, segment0, append(e.get(e.dir, segment0), 0, 0, 0, 0))
		}), ledger: []string{
			"the file of records that begins at byte 10582 is missing, or the one before it was cut",
		}},
		"the first file of records dropped": {do: in(func(e evidence) { e.drop(e.dir, segment0) }), ledger: []string{
			"the file of records that begins at byte 0 is missing, or the one before it was cut",
		}},
		"the last records cut": {do: in(func(e evidence) {
			files, _ := filepath.Glob(filepath.Join(e.dir, "records", "*.seg"))
			e.cut(e.dir, "records/"+filepath.Base(files[len(files)-1]), 10)
		}), ledger: []string{
			"record 299 cannot be read: the record is not whole: unexpected EOF",
		}},
		"a record added at the end": {do: in(func(e evidence) {
			files, _ := filepath.Glob(filepath.Join(e.dir, "records", "*.seg"))
			name := "records/" + filepath.Base(files[len(files)-1])
			e.put(e.dir, name, append(e.get(e.dir, name), e.get(e.dir, segment0)[:70]...))
		})},
		"another log's records": {do: in(func(e evidence) {
			files, _ := filepath.Glob(filepath.Join(fork.dir, "records", "*.seg"))
			for _, name := range append(files, filepath.Join(fork.dir, "hashes"), filepath.Join(fork.dir, "leaves"), filepath.Join(fork.dir, "spots")) {
				name, _ = filepath.Rel(fork.dir, name)
				e.put(e.dir, name, fork.get(fork.dir, name))
			}
		}), ledger: []string{
			"the first 100 records are not those that the checkpoint of 2026-11-22T12:00:00Z signs",
			"the first 200 records are not those that the checkpoint of 2026-11-22T13:00:00Z signs",
			"the first 300 records are not those that the checkpoint of 2026-11-22T14:00:00Z signs",
			"the log's first 300 records are not those of a checkpoint from elsewhere (tiuOGsT28fhzpH1ewPVDYr+pvCL25WE12HpdgHc1DJo= and X9x6slEsw5oZ7BskZI5k9010+naO7exlsDsUaqwg60Q=): the log was forked",
		}},
	}
}

func ofTheTree() map[string]tampering {
	return map[string]tampering{
		"a head": {do: in(func(e evidence) { e.flip(e.dir, "leaves", 25) }), ledger: []string{
			"the hashes that the log keeps do not follow from its heads from record 0 (event edge-1-1) on: proofs and exports with them do not hold",
			"record 0 (event edge-1-1) was changed: its bytes do not have the hash that the log has",
			"record 0 (event edge-1-1) was changed, or record 2 (event edge-1-2): writer edge-1's record 2 carries another hash of its record 1",
			"the first 100 records are not those that the checkpoint of 2026-11-22T12:00:00Z signs",
			"the first 200 records are not those that the checkpoint of 2026-11-22T13:00:00Z signs",
			"the first 300 records are not those that the checkpoint of 2026-11-22T14:00:00Z signs",
			"the log's first 300 records are not those of a checkpoint from elsewhere (ge9K6TeUjlOrgOeX0vTcto4pTWXmmFlQ19AMx4UGnjI= and X9x6slEsw5oZ7BskZI5k9010+naO7exlsDsUaqwg60Q=): the log was forked",
		}},
		"a hash of a record": {do: in(func(e evidence) { e.flip(e.dir, "hashes", 3*32) }), ledger: []string{
			"the hashes that the log keeps do not follow from its heads from record 2 (event edge-1-2) on: proofs and exports with them do not hold",
		}},
		"a hash above records": {do: in(func(e evidence) { e.flip(e.dir, "hashes", 2*32) }), ledger: []string{
			"the hashes that the log keeps do not follow from its heads from record 1 (event edge-2-1) on: proofs and exports with them do not hold",
		}},
		"the times of a block": {do: in(func(e evidence) { e.flip(e.dir, "times", 3) }), ledger: []string{
			"the times that the log keeps of the block of record 0 (event edge-1-1) were changed: exports and reports of its period leave it out",
		}},
		"a writer's numbers": {do: in(func(e evidence) { e.flip(e.dir, "writers/656467652d31", 2*8+7) }), ledger: []string{
			"record 2 (event edge-1-2) is not found by its number 2 of writer edge-1: a file in the ledger's folder writers was changed; remove state.json with audit stopped, so that it is made again",
		}},
		"the places of records cut": {do: in(func(e evidence) { e.cut(e.dir, "spots", 16) }), ledger: []string{
			"spots has 4784 bytes, and the 300 records that were signed take 4800: its tail was cut",
		}},
		"the hashes cut": {do: in(func(e evidence) { e.cut(e.dir, "hashes", 1) }), ledger: []string{
			"hashes has 19071 bytes, and the 300 records that were signed take 19072: its tail was cut",
		}},
		"the heads dropped": {do: in(func(e evidence) { e.drop(e.dir, "leaves") }), ledger: []string{
			"leaves is missing: it was dropped",
		}},
	}
}

func ofCheckpoints(honest, fork evidence) map[string]tampering {
	const history = "checkpoints.jsonl"
	return map[string]tampering{
		"a checkpoint's signature": {do: in(func(e evidence) { e.replace(e.dir, history, `— bank.example/audit `, `— bank.example/audit A`) }), ledger: []string{
			"checkpoints.jsonl: line 1, the checkpoint of 100 records, does not hold: its signature does not hold",
		}},
		"a checkpoint's size": {do: in(func(e evidence) { e.replace(e.dir, history, `audit\n200\n`, `audit\n199\n`) }), ledger: []string{
			"checkpoints.jsonl: line 2, the checkpoint of 199 records, does not hold: its signature does not hold",
		}},
		"a checkpoint's root": {do: in(func(e evidence) {
			e.lines(e.dir, history, func(lines [][]byte) [][]byte {
				lines[1] = slices.Concat(lines[1][:100], []byte{lines[1][100] ^ 1}, lines[1][101:])
				return lines
			})
		}), ledger: []string{
			"checkpoints.jsonl: line 2, the checkpoint of 200 records, does not hold: its signature does not hold",
		}},
		"the last checkpoint dropped": {do: in(func(e evidence) {
			e.lines(e.dir, history, func(lines [][]byte) [][]byte { return lines[:2] })
		}), ledger: []string{
			"the log had 300 records by a checkpoint from elsewhere, and checkpoints.jsonl signs 200: its tail was cut, or an older state was put back",
			"log/checkpoint signs 300 records, and checkpoints.jsonl ends with 200: an older state of the ledger was put back, or its tail was cut",
		}},
		"checkpoints in another order": {do: in(func(e evidence) {
			e.lines(e.dir, history, func(lines [][]byte) [][]byte { return [][]byte{lines[1], lines[0], lines[2]} })
		}), ledger: []string{
			"checkpoints.jsonl: line 2 has a checkpoint of 100 records after one of 200: lines were moved, or an older log was put in this one's place",
		}},
		"a checkpoint written otherwise": {do: in(func(e evidence) { e.replace(e.dir, history, `{"at":`, `{"at": `) }), ledger: []string{
			"checkpoints.jsonl: line 1 is not as audit writes it: it was changed",
		}},
		"a checkpoint of a future form": {do: in(func(e evidence) { e.replace(e.dir, history, `{"at":`, `{"version":2,"at":`) }), ledger: []string{
			"checkpoints.jsonl: line 1 is not as audit writes it: it was changed",
		}},
		"a line that is none": {do: in(func(e evidence) { e.replace(e.dir, history, `{"at":`, `["at":`) }), ledger: []string{
			"checkpoints.jsonl: line 1 is not JSON: it was changed",
		}},
		"the checkpoints cut in a line": {do: in(func(e evidence) { e.cut(e.dir, history, 5) }), ledger: []string{
			"checkpoints.jsonl: line 3 is cut in its middle: the file's tail was cut, or the machine died as it was written; start audit, which signs again, and verify once more",
			"the log had 300 records by a checkpoint from elsewhere, and checkpoints.jsonl signs 200: its tail was cut, or an older state was put back",
			"log/checkpoint signs 300 records, and checkpoints.jsonl ends with 200: an older state of the ledger was put back, or its tail was cut",
		}},
		"all checkpoints dropped": {do: in(func(e evidence) { e.drop(e.dir, history) }), ledger: []string{
			"checkpoints.jsonl has no checkpoint: nothing was signed yet, or it was dropped",
		}},
		"a fork with the log's key": {do: func(e evidence) evidence { e.dir = fork.dir; return e }, ledger: []string{
			"two checkpoints of 300 records differ (tiuOGsT28fhzpH1ewPVDYr+pvCL25WE12HpdgHc1DJo= and X9x6slEsw5oZ7BskZI5k9010+naO7exlsDsUaqwg60Q=): the log was forked",
		}},
		"another log shown to the second place": {do: func(e evidence) evidence { e.place = fork.place; return e }, ledger: []string{
			"two checkpoints of 300 records differ (X9x6slEsw5oZ7BskZI5k9010+naO7exlsDsUaqwg60Q= and tiuOGsT28fhzpH1ewPVDYr+pvCL25WE12HpdgHc1DJo=): the log was forked",
		}},
		"an older state of all put back": {do: func(e evidence) evidence {
			older := kept(e.t, honest.get(honest.dir, "key"), false, shares("ana")[:2]...)
			e.dir = older.dir
			return e
		}, ledger: []string{
			"the log had 300 records by a checkpoint from elsewhere, and checkpoints.jsonl signs 200: its tail was cut, or an older state was put back",
		}},
	}
}

func ofKeys(rotated, stranger evidence) map[string]tampering {
	return map[string]tampering{
		"another's key": {do: func(e evidence) evidence { e.key = stranger.key; return e }, ledger: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it: this is another log, its key was exchanged, or a handover is missing",
		}, place: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it",
			"checkpoint does not hold: no trusted key has signed it",
		}},
		"another's name": {do: func(e evidence) evidence { e.key = otherName(e.t); return e }, ledger: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it: this is another log, its key was exchanged, or a handover is missing",
		}, place: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it",
			"checkpoint does not hold: no trusted key has signed it",
		}},
		"a handover dropped": {rotated: true, do: in(func(e evidence) { e.drop(e.dir, "handover-0001") }), ledger: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it: this is another log, its key was exchanged, or a handover is missing",
		}},
		"a handover exchanged": {rotated: true, do: in(func(e evidence) {
			e.put(e.dir, "handover-0001", []byte(handover(e.t, stranger, rotated)))
		}), ledger: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it: this is another log, its key was exchanged, or a handover is missing",
		}},
		"the public key exchanged": {do: in(func(e evidence) { e.put(e.dir, "key.pub", []byte(stranger.key+"\n")) }), ledger: []string{
			"key.pub is not the key that is trusted, and no handover leads from that to it: this is another log, its key was exchanged, or a handover is missing",
		}},
	}
}

// ofTiles is done to what is published, below the ledger's folder or in the second place.
func ofTiles(where string, fork evidence) map[string]tampering {
	at := func(e evidence) string {
		if where == "place" {
			return e.place
		}
		return filepath.Join(e.dir, "log")
	}
	const unsigned = "the checkpoint's signature"
	out := map[string]tampering{}
	for name, c := range map[string]struct {
		do   func(e evidence, dir string)
		want []string
	}{
		"a head": {func(e evidence, dir string) { e.flip(dir, "tile/entries/000", 30) }, []string{
			"record 0 was changed, or record 2: writer edge-1's record 2 carries another hash of its record 1",
			"tile/0/000: hash 0 is not that of record 0: it or a head in tile/entries was changed",
			"tile/1/000.p/1: hash 0 is not that of the records 0 to 255: it or a head in tile/entries was changed",
			"the heads make the tree unSd7LqV/Q3/ChyWRBDMkDcNOIlBu/fgA6u+yNKua80=, checkpoint signs X9x6slEsw5oZ7BskZI5k9010+naO7exlsDsUaqwg60Q=: records were changed, added or dropped",
		}},
		"the version of a head": {func(e evidence, dir string) { e.flip(dir, "tile/entries/000", 2) }, []string{
			"tile/entries/000: the head of record 0 was changed or cut: the bytes are not a leaf of the ledger",
		}},
		"heads cut": {func(e evidence, dir string) { e.cut(dir, "tile/entries/001.p/44", 1) }, []string{
			"tile/entries/001.p/44: the head of record 299 was changed or cut: the file ends in it",
		}},
		"bytes added to heads": {func(e evidence, dir string) {
			e.put(dir, "tile/entries/001.p/44", append(e.get(dir, "tile/entries/001.p/44"), 'x'))
		}, []string{
			"tile/entries/001.p/44 has 1 bytes more than the heads of 44 records: something was added",
		}},
		"heads dropped": {func(e evidence, dir string) { e.drop(dir, "tile/entries/000") }, []string{
			"tile/entries/000 is missing: the heads of the records 0 to 255 were dropped",
		}},
		"a hash": {func(e evidence, dir string) { e.flip(dir, "tile/0/000", 3*32) }, []string{
			"tile/0/000: hash 3 is not that of record 3: it or a head in tile/entries was changed",
		}},
		"two hashes exchanged": {func(e evidence, dir string) { e.swap(dir, "tile/0/000", 0, 32, 32) }, []string{
			"tile/0/000: hash 0 is not that of record 0: it or a head in tile/entries was changed",
		}},
		"a hash above": {func(e evidence, dir string) { e.flip(dir, "tile/1/000.p/1", 3) }, []string{
			"tile/1/000.p/1: hash 0 is not that of the records 0 to 255: it or a head in tile/entries was changed",
		}},
		"hashes cut": {func(e evidence, dir string) { e.cut(dir, "tile/0/000", 32) }, []string{
			"tile/0/000 has 8160 bytes, 256 hashes take 8192: it was cut, or something was added",
		}},
		"the last hashes dropped": {func(e evidence, dir string) { e.drop(dir, "tile/0/001.p/44") }, []string{
			"tile/0/001.p/44 is missing: the hashes of the records up to 299 were dropped",
		}},
		"a file added": {func(e evidence, dir string) { e.put(dir, "tile/0/note", []byte("all is well")) }, []string{
			"tile/0/note is not a tile: it was added",
		}},
		unsigned: {func(e evidence, dir string) {
			e.replace(dir, "checkpoint", "— bank.example/audit ", "— bank.example/audit A")
		}, []string{
			"checkpoint does not hold: its signature does not hold",
		}},
		"an older checkpoint put back": {func(e evidence, dir string) { e.put(dir, "checkpoint", []byte(noted(e, 1))) }, []string{
			"tile/0/001.p/44 is beyond the 200 records that checkpoint signs: an older checkpoint was put back, or the last one was not published whole; start audit, which publishes it again, and verify once more",
		}},
		"the checkpoint dropped": {func(e evidence, dir string) { e.drop(dir, "checkpoint") }, []string{
			"checkpoint is missing: nothing is published here, or it was dropped",
		}},
		"an older checkpoint than a witness signed": {func(e evidence, dir string) {
			e.witness(dir, noted(e, 2))
			e.put(dir, "checkpoint", []byte(noted(e, 1)))
		}, []string{
			"witnessed/0123456789abcdef is of 300 records and checkpoint of 200: the log's tail was cut, or an older checkpoint was put back",
			"tile/0/001.p/44 is beyond the 200 records that checkpoint signs: an older checkpoint was put back, or the last one was not published whole; start audit, which publishes it again, and verify once more",
		}},
		"a witness's word of another log": {func(e evidence, dir string) {
			e.witness(dir, noted(fork, 1))
		}, []string{
			"the log's first 200 records are not those of a checkpoint from elsewhere (rdk2229URlaSlzglJZCv1ASyH90+6d1egg/gKvjIPGo= and 2JSIglsBOZA7GcOjh+cPTiy8Oa/aG3RZbM5BHcK8HHs=): the log was forked",
		}},
	} {
		change := tampering{do: in(func(e evidence) { c.do(e, at(e)) })}
		switch {
		case where == "place":
			change.place = c.want
			if name == unsigned { // it is the ledger's witness, too
				change.ledger = []string{"checkpoint 1 from elsewhere does not hold: its signature does not hold"}
			}
		default:
			for _, w := range c.want {
				change.ledger = append(change.ledger, "log: "+w)
			}
			if strings.HasPrefix(name, "an older checkpoint") {
				change.ledger = append(change.ledger, "checkpoints.jsonl ends with a checkpoint of 300 records (2026-11-22T14:00:00Z), and log/checkpoint signs 200: an older one was put back, "+
					"or the last one was not published whole; start audit, which publishes it, and verify once more")
			}
		}
		out["published in the "+where+" "+name] = change
	}
	return out
}
