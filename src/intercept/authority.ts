import { randomUUID, X509Certificate } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { InterceptAuthority } from '../config/intercept.ts';
import { errorCode } from '../errors.ts';
import { readCredential } from '../secrets/credential.ts';
import { MAX_SECRET_BYTES } from '../secrets/secret-file.ts';
import { type CertificateAuthority, createAuthority, exportKey, openAuthority } from '../transport/certificates.ts';

const COMMON_NAME = 'cambist intercept CA';

const HOUR_MS = 3_600_000;
/** Agents keep the certificate for as long as they run, so it outlives every pod. */
const LIFETIME_MS = 10 * 365 * 24 * HOUR_MS;

/** Private key and certificate are in one file, so that no crash can separate them. */
const FILE = 'authority.pem';
/** Access of all users but the owner. */
const OTHERS = 0o077;

/**
 * Opens the certificate authority of `intercept.ca`, or makes it.
 * @param hosts the only hosts that a new authority may sign certificates for
 * @throws {Error} for the operator
 */
export async function openInterceptAuthority(
  ca: InterceptAuthority,
  hosts: readonly string[],
): Promise<CertificateAuthority> {
  const found = await findInterceptAuthority(ca);
  if (found !== undefined) return found;
  const made = makeAuthority(hosts);
  return ca.kind === 'dir' ? storeAuthority(ca.dir, made) : made;
}

/**
 * Opens the certificate authority of `intercept.ca` if it is stored.
 * @returns undefined if it is not made yet, or only another process has it
 * @throws {Error} for the operator
 */
export async function findInterceptAuthority(ca: InterceptAuthority): Promise<CertificateAuthority | undefined> {
  switch (ca.kind) {
    case 'ephemeral':
      return undefined;
    case 'dir':
      return findAuthority(ca.dir);
    case 'files': {
      const cert = await readCredential({ file: ca.certificate }, 'intercept.ca.certificate');
      const key = await readCredential({ file: ca.privateKey }, 'intercept.ca.private_key');
      return openValid(`${cert.reveal()}\n`, key.reveal(), 'intercept.ca');
    }
  }
}

function makeAuthority(hosts: readonly string[]): CertificateAuthority {
  const nowMs = Date.now();
  // Clocks differ a little.
  const lifetime = { notBefore: new Date(nowMs - HOUR_MS), notAfter: new Date(nowMs + LIFETIME_MS) };
  return createAuthority({ commonName: COMMON_NAME, hosts, ...lifetime });
}

/** @returns undefined if the folder has no authority yet */
async function findAuthority(dir: string): Promise<CertificateAuthority | undefined> {
  const file = join(dir, FILE);
  const stored = await readPrivate(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    if (cause.code === undefined) throw cause;
    throw new Error(`intercept.ca.dir: cannot read "${file}" (${cause.code}): let this user read it, or remove it`, {
      cause,
    });
  });
  if (stored === undefined) return undefined;
  const certificate = stored.slice(Math.max(0, stored.indexOf('-----BEGIN CERTIFICATE-----')));
  return openValid(certificate, stored, `intercept.ca.dir: file "${file}"`);
}

/** Follows no symbolic link, and checks the file that it reads. */
async function readPrivate(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = await handle.stat();
    if (!stats.isFile() || stats.size > MAX_SECRET_BYTES) {
      throw new Error(`intercept.ca.dir: "${file}" is not the file of an authority: remove it`);
    }
    if ((stats.mode & OTHERS) !== 0) {
      const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
      throw new Error(
        `intercept.ca.dir: other users may access the private key in "${file}": its mode is ${mode}, set 0600`,
      );
    }
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

function openValid(cert: string, key: string, source: string): CertificateAuthority {
  let authority: CertificateAuthority;
  try {
    authority = openAuthority(cert, key);
  } catch (cause) {
    throw new Error(`${source}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const { validTo } = new X509Certificate(authority.cert);
  if (Date.parse(validTo) <= Date.now())
    throw new Error(`${source}: the certificate expired on ${validTo}: replace it`);
  return authority;
}

/** Stores an authority. Uses that of another process instead, if it was stored first. */
async function storeAuthority(dir: string, authority: CertificateAuthority): Promise<CertificateAuthority> {
  const temporary = join(dir, `.${FILE}.${randomUUID()}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await writeFile(temporary, exportKey(authority.privateKey) + authority.cert, { mode: 0o600, flag: 'wx' });
    try {
      // Unlike a rename, a link replaces nothing.
      await link(temporary, join(dir, FILE));
      return authority;
    } finally {
      await rm(temporary, { force: true });
    }
  } catch (cause) {
    const code = errorCode(cause);
    const stored = code === 'EEXIST' ? await findAuthority(dir) : undefined;
    if (stored !== undefined) return stored;
    throw new Error(`intercept.ca.dir: cannot store the authority in "${dir}" (${code}): let this user write there`, {
      cause,
    });
  }
}
