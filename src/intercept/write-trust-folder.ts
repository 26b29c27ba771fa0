import { createHash, randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BmpString, Constructed, Integer, ObjectIdentifier, OctetString, Sequence, Set as SetOf } from 'asn1js';
import { errorCode } from '../errors.ts';
import { splitCertificates } from '../listeners/tls.ts';
import { javaOptions, proxyVariables, TRUST_FILES, trustVariables } from './agent-variables.ts';
import { systemRoots } from './system-roots.ts';

/**
 * Writes the certificates that an agent trusts.
 * @param authority PEM
 * @param env names the roots of the machine
 * @throws {Error} for the operator
 */
export async function writeCertificates(
  dir: string,
  authority: string,
  env: NodeJS.ProcessEnv,
  unusable: (variable: string) => void,
): Promise<void> {
  const all = [...(await systemRoots(env, unusable)), ...splitCertificates(authority)];
  await write(dir, TRUST_FILES.authority, authority);
  await write(dir, TRUST_FILES.bundle, `${all.join('\n')}\n`);
  await write(dir, TRUST_FILES.truststore, encodeTruststore(all));
}

/** Writes the variables that lead an agent to the proxy and to the certificates, for a shell. */
export async function writeVariables(dir: string, proxyUrl: string | undefined): Promise<void> {
  const variables = {
    ...(proxyUrl === undefined ? {} : proxyVariables(proxyUrl)),
    ...trustVariables(dir),
    ...javaOptions(dir, proxyUrl),
  };
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${quoted(value)}\n`);
  await write(dir, TRUST_FILES.variables, lines.join(''));
}

/** A shell reads everything between single quotes as it is. */
function quoted(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`;
}

/** Replaces a file in one step, so that an agent that starts now reads the previous content or the new one. */
async function write(dir: string, name: string, content: string | Buffer): Promise<void> {
  const temporary = join(dir, `.${name}.${randomUUID()}`);
  try {
    await mkdir(dir, { recursive: true });
    // Agents may run as another user.
    await writeFile(temporary, content, { mode: 0o644, flag: 'wx' });
    await rename(temporary, join(dir, name));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    const code = errorCode(cause);
    throw new Error(`intercept.trust_dir: cannot write "${join(dir, name)}" (${code}): let this user write there`, {
      cause,
    });
  }
}

const DATA = '1.2.840.113549.1.7.1';
const CERT_BAG = '1.2.840.113549.1.12.10.1.3';
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1';
const FRIENDLY_NAME = '1.2.840.113549.1.9.20';
/** Without this attribute Java takes no certificate of a PKCS#12 file for a trust anchor. */
const ORACLE_TRUSTED_KEY_USAGE = '2.16.840.1.113894.746875.1.1';
const ANY_EXTENDED_KEY_USAGE = '2.5.29.37.0';

type Value = Sequence | OctetString | ObjectIdentifier | BmpString;

/**
 * Encodes certificates as a trust store of Java: PKCS#12 without encryption and MAC, because it contains nothing secret.
 * @param certificates each in PEM
 * @see RFC 7292 section 4
 */
export function encodeTruststore(certificates: readonly string[]): Buffer {
  const bags = new Sequence({ value: certificates.map(trustedBag) });
  const authenticatedSafe = new Sequence({ value: [dataOf(bags)] });
  const pfx = new Sequence({ value: [new Integer({ value: 3 }), dataOf(authenticatedSafe)] });
  return Buffer.from(pfx.toBER());
}

function trustedBag(pem: string): Sequence {
  const raw = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
  // Java finds entries by this name, so each needs its own.
  const alias = createHash('sha256').update(raw).digest('hex').slice(0, 32);
  const octets = new OctetString({ valueHex: raw });
  const bag = new Sequence({ value: [new ObjectIdentifier({ value: X509_CERTIFICATE }), explicit(octets)] });
  const attributes = [
    attribute(FRIENDLY_NAME, new BmpString({ value: alias })),
    attribute(ORACLE_TRUSTED_KEY_USAGE, new ObjectIdentifier({ value: ANY_EXTENDED_KEY_USAGE })),
  ];
  return new Sequence({
    value: [new ObjectIdentifier({ value: CERT_BAG }), explicit(bag), new SetOf({ value: attributes })],
  });
}

function attribute(id: string, value: Value): Sequence {
  return new Sequence({ value: [new ObjectIdentifier({ value: id }), new SetOf({ value: [value] })] });
}

/** A ContentInfo with data that is not encrypted. */
function dataOf(content: Sequence): Sequence {
  const data = new OctetString({ valueHex: content.toBER() });
  return new Sequence({ value: [new ObjectIdentifier({ value: DATA }), explicit(data)] });
}

/** The tag `[0] EXPLICIT`. */
function explicit(value: Value): Constructed {
  return new Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [value] });
}
