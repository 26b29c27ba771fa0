const B64_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** Is a text well formed as a token in an `Authorization` header? @see RFC 6750 section 2.1, `b64token` */
export function isB64Token(text: string): boolean {
  return B64_TOKEN.test(text);
}

/** The token of an `Authorization` value, without its scheme. */
export function bareToken(authorization: string): string {
  return authorization.slice(authorization.indexOf(' ') + 1);
}
