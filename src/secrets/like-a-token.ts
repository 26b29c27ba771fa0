/**
 * Text that could be a token: base64url of the start of a JSON object (`{"`, or `{` and white space, then a second part), or a
 * handle, which stands for a token. Such text is left out of everything that is logged or recorded.
 */
export const LIKE_A_TOKEN = /eyJ[\w-]{8}|e[wy][\w-]{10,}\.[\w-]{8}|cbh_/;
