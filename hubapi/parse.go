package hubapi

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/spawner"
)

// Bounds of what names a server, once unescaped: of queries in characters, as the
// OpenAPI document counts them, of all else in bytes.
const (
	maxUser    = 1024
	maxServer  = 255
	maxStart   = 128
	maxEventID = 128
	maxQuery   = 8 << 10
	maxHubUser = 64
	// maxOthers is how many people may have had one name before.
	maxOthers = 8
)

// user is the path's user name, unescaped: any characters, slashes included.
func user(c *gin.Context) (string, error) {
	name, err := url.PathUnescape(c.Param("user"))
	if err != nil {
		return "", &malformed{"The user name is not percent-encoded correctly."}
	}
	if name == "" || len(name) > maxUser || !utf8.ValidString(name) {
		return "", &malformed{"The user name must be 1 to 1024 bytes of UTF-8."}
	}
	return name, nil
}

// key names a server by the path's user, the query parameter called parameter, and
// hub_user, by which a Hub says who the user is whatever they are called.
func key(c *gin.Context, parameter string) (spawner.Key, error) {
	name, err := user(c)
	if err != nil {
		return spawner.Key{}, err
	}
	server, err := query(c, parameter, maxServer)
	if err != nil {
		return spawner.Key{}, err
	}
	person, err := hubUsers(c, "hub_user", 1)
	if err != nil {
		return spawner.Key{}, err
	}
	k := spawner.Key{User: name, Server: server}
	if len(person) == 1 {
		k.HubUser = person[0]
	}
	return k, nil
}

// hubUsers reads a comma-separated list of at most limit Hub users.
func hubUsers(c *gin.Context, parameter string, limit int) ([]spawner.HubUser, error) {
	text, err := query(c, parameter, limit*maxHubUser)
	if err != nil || text == "" {
		return nil, err
	}
	var people []spawner.HubUser
	for part := range strings.SplitSeq(text, ",") {
		person, err := spawner.ParseHubUser(part)
		if err != nil || len(people) == limit || !person.Known() {
			return nil, &malformed{"The query parameter " + parameter + " must be <id>@<RFC 3339 time>, at most " + strconv.Itoa(limit) + " of them."}
		}
		people = append(people, person)
	}
	return people, nil
}

// query is one parameter of the query string, of at most limit characters, empty when absent. A repeated
// one is refused: two readers of one request must not disagree on it.
func query(c *gin.Context, parameter string, limit int) (string, error) {
	if len(c.Request.URL.RawQuery) > maxQuery {
		return "", &malformed{"The query string is too long."}
	}
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return "", &malformed{"The query string is not encoded correctly."}
	}
	switch got := values[parameter]; {
	case len(got) == 0:
		return "", nil
	case len(got) > 1:
		return "", &malformed{"The query parameter " + parameter + " is repeated."}
	case utf8.RuneCountInString(got[0]) > limit || !utf8.ValidString(got[0]):
		return "", &malformed{"The query parameter " + parameter + " is too long or not UTF-8."}
	default:
		return got[0], nil
	}
}

// flag is a query parameter that is true or false, false when absent.
func flag(c *gin.Context, parameter string) (bool, error) {
	value, err := query(c, parameter, len("false"))
	if err != nil {
		return false, err
	}
	switch value {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, &malformed{"The query parameter " + parameter + " must be true or false."}
}
