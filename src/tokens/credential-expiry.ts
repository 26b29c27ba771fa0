import { X509Certificate } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { expiringCredentials } from '../config/expiring-credentials.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { readCredential } from '../secrets/credential.ts';
import { readClaims } from './claims.ts';

/**
 * Reads the expiry of every credential in a config, in use or not. Unreadable credentials are left out: their users report
 * them.
 */
export async function readExpiries(config: Config, credentialRead: TokenObserver['credentialRead']): Promise<void> {
  await Promise.all(
    expiringCredentials(config).map(async ({ name, source, kind }) => {
      const content = await readCredential(source, name).catch(() => undefined);
      const seconds = content === undefined ? undefined : EXPIRY_SECONDS[kind](content.reveal());
      if (seconds !== undefined) credentialRead(name, seconds);
    }),
  );
}

function tokenExpiry(content: string): number | undefined {
  const exp: unknown = readClaims(content.trim())?.exp;
  return typeof exp === 'number' ? exp : undefined;
}

function certificateExpiry(content: string): number | undefined {
  try {
    return Date.parse(new X509Certificate(content).validTo) / 1000;
  } catch {
    return undefined;
  }
}

const EXPIRY_SECONDS = { token: tokenExpiry, certificate: certificateExpiry };
