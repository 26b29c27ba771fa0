import { createHmac } from 'node:crypto';
import type { Audit } from '../config/audit.ts';
import { readPseudonymKey } from '../secrets/pseudonym-key.ts';
import type { Secret } from '../secrets/secret.ts';
import type { Pseudonymize } from './claims.ts';

/** Replaces claims by an HMAC of their values. */
export interface Pseudonyms {
  readonly pseudonymize: Pseudonymize;
  /** False until the key is read. Claims that need it are left out until then. */
  readonly isReady: boolean;
  /**
   * Reads the key. An unreadable key leaves the previous one in use.
   * @returns whether the key has changed
   * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
   */
  readKey(): Promise<boolean>;
}

/** @param config undefined: every claim is recorded as it is */
export function createPseudonyms(config: Audit['pseudonymize']): Pseudonyms {
  const claims = new Set(config?.claims);
  let key: Secret | undefined;

  return {
    pseudonymize(claim, value) {
      if (!claims.has(claim)) return value;
      return key && `hmac:${createHmac('sha256', key.reveal()).update(value).digest('base64url')}`;
    },
    get isReady() {
      return config === undefined || key !== undefined;
    },
    async readKey() {
      if (config === undefined) return false;
      const read = await readPseudonymKey(config.key);
      const hasChanged = read.reveal() !== key?.reveal();
      key = read;
      return hasChanged;
    },
  };
}
