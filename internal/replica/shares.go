// Package replica decides for a replica, one of several processes that share the
// tenants of a configuration, which tenants are its own and which other replicas
// have fallen silent. It is pure: time and what is known of the others are
// arguments.
package replica

import "slices"

// Shares are how the tenants are divided among replicas: by rendezvous hashing.
// Each replica has a weight for each tenant, the heaviest has it. So there is
// nothing to agree on but the names, the shares are equal but for chance, and when
// a replica goes only its share moves, spread over all others. The zero value
// divides among none.
type Shares struct {
	names  []string
	hashes []uint64
}

// NewShares divides among the replicas of these names.
func NewShares(names []string) Shares {
	s := Shares{names: slices.Compact(slices.Sorted(slices.Values(names)))}
	for _, name := range s.names {
		s.hashes = append(s.hashes, hash(name))
	}
	return s
}

// Names are the replicas, sorted. They must not be changed.
func (s Shares) Names() []string { return s.names }

// Owner is the name of the replica that has the tenant's account, "" if there is
// none. It depends on nothing but the names and the account.
func (s Shares) Owner(account string) string {
	owner, most := "", uint64(0)
	of := hash(account)
	for i, name := range s.names {
		// Equal weights: the first name has it.
		if weight := mix(s.hashes[i] ^ of); owner == "" || weight > most {
			owner, most = name, weight
		}
	}
	return owner
}

// hash is FNV-1a, 64 bits (RFC 9923), with its bits mixed: names that differ in
// their last character only must not have neighbouring hashes.
func hash(text string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): each bit of
// the argument changes each bit of the result in half of all cases.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
