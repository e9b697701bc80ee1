package podstate

// Sentence appends a detail, which may be empty, to a statement.
func Sentence(statement, detail string) string {
	if detail == "" {
		return statement + "."
	}
	return statement + ": " + detail
}

// Clip bounds what others wrote, in bytes, before it goes into a status.
func Clip(text string) string {
	const most = 512
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
