package sim

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
)

// arena keeps flow descriptions once, however many edges have them.
type arena struct {
	seed   maphash.Seed
	shards [1 << shardBits]shard
}

const (
	shardBits = 6
	chunkSize = 256 << 10
	// longest is the length up to which a description is shared.
	longest = 512
	// longID stands for a description that the edge keeps itself.
	longID = ^uint32(0)
)

type shard struct {
	mu     sync.RWMutex
	ids    map[uint64]uint32 // by hash
	chunks [][]byte
	used   int // of the last chunk
}

func newArena() *arena {
	a := &arena{seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].ids = map[uint64]uint32{}
	}
	return a
}

// put returns the number of a description, whose length is a multiple of 8.
func (a *arena) put(b []byte, hash uint64) uint32 {
	n := uint32(hash >> (64 - shardBits))
	s := &a.shards[n]
	s.mu.RLock()
	id, ok := s.ids[hash]
	s.mu.RUnlock()
	if ok {
		return id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.ids[hash]; ok {
		return id
	}
	if len(s.chunks) == 0 || s.used+len(b) > chunkSize {
		s.chunks, s.used = append(s.chunks, make([]byte, chunkSize)), 0
	}
	at := (len(s.chunks)-1)*chunkSize + s.used
	copy(s.chunks[len(s.chunks)-1][s.used:], b)
	s.used += len(b)
	id = n<<(32-shardBits) | uint32(at/8)
	s.ids[hash] = id
	return id
}

// get returns a description. It must not be written to.
func (a *arena) get(id uint32) []byte {
	s := &a.shards[id>>(32-shardBits)]
	at := int(id&(1<<(32-shardBits)-1)) * 8
	s.mu.RLock()
	c := s.chunks[at/chunkSize]
	s.mu.RUnlock()
	b := c[at%chunkSize:]
	return b[:binary.BigEndian.Uint16(b)]
}

// flowTable is all flow tables of one edge.
type flowTable struct {
	flows  map[uint64]uint32 // by hash of table, priority and match
	long   map[uint64][]byte // descriptions that are not shared
	counts [tables]int32
	sum    uint64
}

// description returns the flow of a key as a flow description.
func (e *Edge) description(key uint64) []byte {
	id, ok := e.flows[key]
	switch {
	case !ok:
		return nil
	case id == longID:
		return e.long[key]
	}
	return e.farm.arena.get(id)
}

// Offsets in a flow description (OpenFlow 1.5 section 7.3.5.2).
const (
	descTable    = 4
	descPriority = 6
	descCookie   = 16
	descMatch    = 24
)

// set adds a flow or replaces the one of its key. The caller holds the lock.
func (e *Edge) set(key uint64, desc []byte) {
	e.remove(key)
	hash := maphash.Bytes(e.farm.arena.seed, desc)
	if e.flows == nil {
		e.flows = map[uint64]uint32{}
	}
	if len(desc) > longest {
		if e.long == nil {
			e.long = map[uint64][]byte{}
		}
		e.flows[key], e.long[key] = longID, append([]byte(nil), desc...)
	} else {
		e.flows[key] = e.farm.arena.put(desc, hash)
	}
	e.sum += hash
	e.counts[desc[descTable]]++
	e.farm.tables[desc[descTable]].Add(1)
}

// remove deletes a flow, if it is there. The caller holds the lock.
func (e *Edge) remove(key uint64) {
	d := e.description(key)
	if d == nil {
		return
	}
	e.sum -= maphash.Bytes(e.farm.arena.seed, d)
	e.counts[d[descTable]]--
	e.farm.tables[d[descTable]].Add(-1)
	delete(e.flows, key)
	delete(e.long, key)
}

// flowKey is the hash of what identifies a flow: table, priority and match,
// with the match's header but without padding.
func (a *arena) flowKey(table uint8, priority uint16, match []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	_, _ = h.Write([]byte{table, byte(priority >> 8), byte(priority)})
	_, _ = h.Write(match)
	return h.Sum64()
}
