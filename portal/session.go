package portal

import "net/http"

// signIn leads to the provider, and later to the page that next names.
func (p *Portal) signIn(r *request) error {
	return p.deps.Gate.Begin(r.w, r.Request, r.URL.Query().Get("next"))
}

// signedIn is where the provider leads back to.
func (p *Portal) signedIn(r *request) error { return p.deps.Gate.Finish(r.w, r.Request) }

// signOut ends the session here, and leads to a page that tells how to end the Hub's.
func (p *Portal) signOut(r *request) error {
	p.deps.Gate.SignOut(r.w, r.Request)
	http.Redirect(r.w, r.Request, p.config.BasePath+"signedout", http.StatusSeeOther)
	return nil
}
