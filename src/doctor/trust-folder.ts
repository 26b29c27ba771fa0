import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TRUST_FILES } from '../config/agent-variables.ts';
import type { Config } from '../config/config.ts';
import type { InterceptAuthority } from '../config/optional-sections.ts';
import { findInterceptAuthority, openInterceptAuthority } from '../intercept/authority.ts';
import { interceptedHosts } from '../intercept/hosts.ts';
import { splitCertificates } from '../intercept/system-roots.ts';
import { writeCertificates, writeVariables } from '../intercept/trust-folder.ts';
import type { CertificateAuthority } from '../transport/certificates.ts';
import { type Found, fine, problem, shortAscii, warning } from './finding.ts';

/** A trust folder as an agent sees it. */
export interface TrustFolder {
  readonly dir: string;
  /** PEM. */
  readonly certificate: string;
  readonly variables: Readonly<Record<string, string>>;
}

/** A trust folder whose authority can sign here. */
export interface SigningFolder extends TrustFolder {
  readonly authority: CertificateAuthority;
}

/** @returns undefined if cambist has not written it here */
async function readTrustFolder(dir: string): Promise<TrustFolder | undefined> {
  const certificate = await readFile(join(dir, TRUST_FILES.authority), 'utf8').catch(() => undefined);
  if (certificate === undefined || splitCertificates(certificate).length === 0) return undefined;
  const env = await readFile(join(dir, TRUST_FILES.variables), 'utf8').catch(() => '');
  const lines = [...env.matchAll(/^(\w+)='((?:[^']|'\\'')*)'$/gm)];
  const variables = Object.fromEntries(lines.map(([, name, value = '']) => [name, value.replaceAll("'\\''", "'")]));
  return { dir, certificate, variables };
}

/** Makes a folder of the same kind, with an authority of its own for the same hosts. @param dir an empty folder */
export async function makeTrustFolder(dir: string, { routes }: Config): Promise<SigningFolder> {
  const authority = await openInterceptAuthority({ kind: 'ephemeral' }, interceptedHosts(routes));
  await writeCertificates(dir, authority.cert, process.env, () => {});
  await writeVariables(dir, undefined);
  const folder = await readTrustFolder(dir);
  if (folder === undefined) throw new Error(`cannot read "${dir}" again`);
  return { ...folder, authority };
}

/** Finds the trust folder of the config. @returns undefined without one, which is reported */
export async function findTrustFolder(
  { intercept }: Config,
  found: Found,
): Promise<TrustFolder | SigningFolder | undefined> {
  if (intercept === undefined) {
    found(
      fine('trust_folder_missing', 'the config has no intercept; a temporary folder is checked, as exec makes one'),
    );
    return undefined;
  }
  const { ca, trustDir } = intercept;
  const folder = await readTrustFolder(trustDir);
  if (folder === undefined) {
    const fix = 'run doctor where cambist runs, while it runs';
    found(warning('trust_folder_missing', `no trust folder in "${trustDir}"; a temporary one is checked`, { fix }));
    return undefined;
  }
  const { subject, validTo } = new X509Certificate(folder.certificate);
  if (Date.parse(validTo) <= Date.now()) {
    found(problem('trust_folder_broken', `the certificate in "${trustDir}" expired on ${validTo}`, { fix: RESTART }));
  } else {
    found(fine('trust_folder_read', `"${trustDir}" has the authority ${shortAscii(subject)}, valid until ${validTo}`));
  }
  const authority = await signingAuthority(ca, folder, found);
  return authority === undefined ? folder : { ...folder, authority };
}

const RESTART = 'restart the pod: cambist writes the folder when it starts, and agents read it when they start';

/** @returns undefined if the key is unavailable, or belongs to another certificate */
async function signingAuthority(
  ca: InterceptAuthority,
  { dir, certificate }: TrustFolder,
  found: Found,
): Promise<CertificateAuthority | undefined> {
  const authority = await findInterceptAuthority(ca).catch(() => undefined);
  if (authority === undefined || authority.cert === certificate) return authority;
  const what = `"${dir}" has another certificate than the authority of intercept.ca`;
  found(problem('trust_folder_broken', what, { fix: RESTART }));
  return undefined;
}

/** Explains why a client does not find the authority by a variable. @returns undefined if it does */
export async function whyNotTrusted(variable: string, folder: TrustFolder): Promise<string | undefined> {
  const file = fileOf(variable, folder);
  if (file === undefined) return `the variables in "${folder.dir}" do not set ${variable}`;
  const content = await readFile(file).catch(() => undefined);
  if (content === undefined) return `${variable} names "${shortAscii(file)}", which cannot be read`;
  const isThere = splitCertificates(folder.certificate).every((pem) => {
    // A trust store of Java contains them without encoding.
    return content.includes(variable === 'JAVA_TOOL_OPTIONS' ? new X509Certificate(pem).raw : pem);
  });
  return isThere ? undefined : `${variable} names "${shortAscii(file)}", which lacks the authority`;
}

/** The file that a variable names. */
export function fileOf(variable: string, { variables }: TrustFolder): string | undefined {
  const value = variables[variable];
  if (variable !== 'JAVA_TOOL_OPTIONS') return value;
  const quoted = /'-Djavax\.net\.ssl\.trustStore=([^']*)'/.exec(value ?? '');
  return (quoted ?? /(?:^|\s)-Djavax\.net\.ssl\.trustStore=(\S+)/.exec(value ?? ''))?.[1];
}
