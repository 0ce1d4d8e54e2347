// Verifies a Portcullis log with the code of Go's checksum database (golang.org/x/mod/sumdb), which shares nothing with ours.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run verify.go DIR VKEY [RETAINED [PROOF INDEX]]
//
// DIR holds `checkpoint` and `tile/`; RETAINED is an earlier checkpoint of the same log; PROOF is a .tlog-proof of record INDEX.
// Prints `OK n` for a log of n entries, or what does not fit, and then ends with status 1.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if len(os.Args) < 3 {
		fail("usage: verify DIR VKEY [RETAINED [PROOF INDEX]]")
	}
	dir, vkey := os.Args[1], os.Args[2]
	verifier, err := note.NewVerifier(vkey)
	check(err, "the vkey")
	tree := checkpoint(read(filepath.Join(dir, "checkpoint")), verifier)
	tiles := &reader{dir: dir, size: tree.N}
	hashes := tlog.TileHashReader(tree, tiles)
	leaves := entries(dir, tree.N)

	for level := 0; tree.N>>(8*level) > 0; level++ {
		for n := int64(0); n<<8 < tree.N>>(8*level); n++ {
			checkTile(tiles, tree, level, n, leaves)
		}
	}
	for index, leaf := range leaves {
		proof, err := tlog.ProveRecord(tree.N, int64(index), hashes)
		check(err, fmt.Sprintf("inclusion of %d", index))
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), leaf), fmt.Sprintf("inclusion of %d", index))
	}
	if len(os.Args) > 3 {
		old := checkpoint(read(os.Args[3]), verifier)
		if old.N > 0 {
			proof, err := tlog.ProveTree(tree.N, old.N, hashes)
			check(err, "consistency")
			check(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash), "consistency")
		}
	}
	if len(os.Args) > 5 {
		index, err := strconv.ParseInt(os.Args[5], 10, 64)
		check(err, "the index")
		checkProof(string(read(os.Args[4])), index, leaves[index], verifier)
	}
	fmt.Printf("OK %d\n", tree.N)
}

// checkpoint opens a signed note and reads origin, size and root.
func checkpoint(data []byte, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open(data, note.VerifierList(verifier))
	check(err, "the checkpoint's signature")
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		fail("the checkpoint is not one of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "the checkpoint's size")
	root, err := tlog.ParseHash(lines[2])
	check(err, "the checkpoint's root")
	return tlog.Tree{N: size, Hash: root}
}

// entries reads every bundle and returns the leaf hashes.
func entries(dir string, size int64) []tlog.Hash {
	var leaves []tlog.Hash
	for n := int64(0); n<<8 < size; n++ {
		width := int(min(256, size-n<<8))
		data := read(filepath.Join(dir, path(tlog.Tile{H: 8, L: -1, N: n, W: width})))
		for count := 0; count < width; count++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				fail("bundle %d is cut short", n)
			}
			length := int(binary.BigEndian.Uint16(data))
			leaves = append(leaves, tlog.RecordHash(data[2:2+length]))
			data = data[2+length:]
		}
		if len(data) != 0 {
			fail("bundle %d holds more than %d entries", n, width)
		}
	}
	return leaves
}

// checkTile compares a tile with what Go computes from the leaves.
func checkTile(tiles *reader, tree tlog.Tree, level int, n int64, leaves []tlog.Hash) {
	width := int(min(256, tree.N>>(8*level)-n<<8))
	tile := tlog.Tile{H: 8, L: level, N: n, W: width}
	data, err := tiles.ReadTiles([]tlog.Tile{tile})
	check(err, path(tile))
	for place := 0; place < width; place++ {
		span := int64(1) << (8 * level)
		first := (n<<8 + int64(place)) * span
		if subtree(leaves[first:first+span]) != tlog.Hash(*(*[32]byte)(data[0][32*place:])) {
			if level == 0 {
				fail("MISMATCH %d", first)
			}
			fail("MISMATCH %s at %d", path(tile), place)
		}
	}
}

func subtree(leaves []tlog.Hash) tlog.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	half := len(leaves) / 2
	return tlog.NodeHash(subtree(leaves[:half]), subtree(leaves[half:]))
}

// checkProof reads a c2sp.org/tlog-proof and checks it against the leaf.
func checkProof(text string, index int64, leaf tlog.Hash, verifier note.Verifier) {
	head, signed, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || lines[1] != fmt.Sprintf("index %d", index) {
		fail("not a proof of %d", index)
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		check(err, "the proof")
		proof = append(proof, tlog.Hash(*(*[32]byte)(hash)))
	}
	tree := checkpoint([]byte(signed), verifier)
	check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf), "the proof")
}

// reader hands tiles to Go's code, which checks each against the root before it uses it.
type reader struct {
	dir  string
	size int64
}

func (r *reader) Height() int { return 8 }

func (r *reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(r.dir, path(tile)))
		if err != nil {
			return nil, err
		}
		if len(data) != 32*tile.W {
			return nil, fmt.Errorf("%s has %d bytes", path(tile), len(data))
		}
		all = append(all, data)
	}
	return all, nil
}

// path names a tile as C2SP tlog-tiles does: Go's own paths carry the height and say `data` for entries.
func path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(name, "data/", "entries/", 1)
}

func read(name string) []byte {
	data, err := os.ReadFile(name)
	check(err, name)
	return data
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func check(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func fail(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}
