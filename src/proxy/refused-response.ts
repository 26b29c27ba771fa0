import type { IssuedToken } from '../tokens/issued-token.ts';
import { parseJsonObject, textOf } from '../tokens/token-text.ts';
import { type BackendReason, reasonInChallenges, reasonOf } from './challenges.ts';
import { headerValues, type RawHeaders } from './headers.ts';

const NO_REASON: BackendReason = { error: '', description: '' };

/** Error messages are shorter. */
const MAX_BODY_BYTES = 8 * 1024;

/** A caller waits for its error meanwhile. */
const BODY_TIMEOUT_MS = 500;

/** The 401 of a backend to an issued token: keeps its reason, which is usually in the challenge, else in a short JSON body. */
export class RefusedResponse {
  readonly token: IssuedToken;
  readonly date: string | undefined;
  readonly #fromChallenge: BackendReason | undefined;
  readonly #body: Promise<string> | undefined;
  #chunks: Buffer[] = [];
  #size = 0;
  #settle: ((text: string) => void) | undefined;

  constructor(token: IssuedToken, headers: RawHeaders) {
    this.token = token;
    this.date = headerValues(headers, 'date')[0];
    this.#fromChallenge = reasonInChallenges(headerValues(headers, 'www-authenticate'));
    const isJson = /[/+]json\b/i.test(headerValues(headers, 'content-type')[0] ?? '');
    if (this.#fromChallenge === undefined && isJson) this.#body = this.#collect();
  }

  #collect(): Promise<string> {
    return new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  data(chunk: Buffer): void {
    if (this.#settle === undefined) return;
    this.#size += chunk.length;
    if (this.#size > MAX_BODY_BYTES) {
      this.#chunks = [];
      this.end();
    } else {
      this.#chunks.push(chunk);
    }
  }

  end(): void {
    this.#settle?.(Buffer.concat(this.#chunks).toString('utf8'));
    this.#settle = undefined;
  }

  /** Waits for a short body, but not long: a backend may never finish it. */
  async reason(): Promise<BackendReason> {
    if (this.#body === undefined) return this.#fromChallenge ?? NO_REASON;
    const timer = setTimeout(() => this.end(), BODY_TIMEOUT_MS);
    const text = await this.#body;
    clearTimeout(timer);
    return reasonInBody(text) ?? NO_REASON;
  }
}

/** Reads the words of OAuth, of RFC 9457, of JSON-RPC, and of common frameworks. */
function reasonInBody(text: string): BackendReason | undefined {
  const body = parseJsonObject(text);
  if (body === undefined) return undefined;
  const nested = Object(body.error) as Record<string, unknown>;
  const description = [body.error_description, body.detail, body.message, nested.message, body.title];
  return reasonOf(textOf(body.error), description.map(textOf).find((part) => part !== '') ?? '');
}
