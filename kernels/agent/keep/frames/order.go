package frames

import "fmt"

// place is where in a stream a frame stands.
type place int

const (
	start place = iota
	between
	inside
	hinted
	ended
)

// next has for every place the letters that may follow, and where they lead.
var next = map[place]map[Letter]place{
	start:   {Header: between},
	between: {Record: inside, End: ended},
	inside:  {Pickle: inside, Hint: hinted, Buffer: inside, ReadOnly: inside, Void: between, Complete: between},
	hinted:  {Buffer: inside, ReadOnly: inside, Void: between},
	ended:   {},
}

func (p place) String() string {
	return [...]string{"at the start", "between records", "in a record", "after a hint", "after the end"}[p]
}

// after returns the place behind a frame of that letter.
func (p place) after(letter Letter) (place, error) {
	if to, ok := next[p][letter]; ok {
		return to, nil
	}
	return p, fmt.Errorf("no frame %q may stand %s", byte(letter), p)
}
