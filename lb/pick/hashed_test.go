package pick

import "testing"

// What is down, and what is known of an endpoint, has no part in the table, which is
// expensive to make.
func TestHashedKeepsItsTable(t *testing.T) {
	t.Parallel()
	made := 0
	policy := Hashed{Table: func(endpoints []Endpoint) (Table, error) {
		made++
		for _, e := range endpoints {
			if e.Down || e.Fresh {
				t.Errorf("the table is made of %+v, want ID and weight alone", e)
			}
		}
		endpoints[0].ID = "changed"
		return newModulo(endpoints)
	}}
	var p Picker
	for i, row := range []struct {
		endpoints []Endpoint
		made      int
	}{
		{[]Endpoint{{ID: "b"}, {ID: "a", Fresh: true}, {ID: "c"}}, 1},
		{[]Endpoint{{ID: "b", Down: true}, {ID: "a"}, {ID: "c"}}, 1},
		{[]Endpoint{{ID: "a"}, {ID: "b"}, {ID: "c"}}, 1},
		{[]Endpoint{{ID: "a"}, {ID: "b"}, {ID: "c", Weight: 2}}, 2},
		{[]Endpoint{{ID: "a"}, {ID: "c", Weight: 2}}, 3},
	} {
		p = mustPicker(t, policy, row.endpoints, p)
		if made != row.made {
			t.Errorf("row %d: %d tables were made, want %d", i, made, row.made)
		}
		for hash := range uint64(50) {
			token, ok := p.Pick(Request{Hash: hash})
			if !ok || row.endpoints[token.Endpoint].Down {
				t.Errorf("row %d: picked %v, %v", i, token, ok)
			}
		}
	}
}
