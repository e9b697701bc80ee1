package ldap

import "context"

// ValuesAfter reads an attribute of an entry as if the server had handed out
// only the values of a first range, such as memberOf;range=0-1499.
func ValuesAfter(ctx context.Context, s *Source, dn, attribute, bounds string) (values []string, err error) {
	err = s.pool.do(ctx, func(ctx context.Context, c *conn) error {
		entry, err := s.read(ctx, c, dn, attribute+";"+bounds)
		if err != nil {
			return err
		}
		values, err = s.values(ctx, c, entry, attribute, maxGroups)
		return err
	})
	return values, err
}
