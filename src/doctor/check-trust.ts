import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import type { InterceptAuthority } from '../config/intercept.ts';
import { TRUST_FILES } from '../intercept/agent-variables.ts';
import { findInterceptAuthority } from '../intercept/authority.ts';
import { excludedRoutes } from '../intercept/hosts.ts';
import { splitCertificates } from '../listeners/tls.ts';
import { type Finding, fine, problem, shortAscii, warning } from './finding.ts';
import type { Reporter } from './run-checks.ts';

/** Kinds of clients, and the variable by which each finds the certificates that it trusts. */
const CLIENTS: readonly (readonly [name: string, variable: string])[] = [
  ['Node', 'NODE_EXTRA_CA_CERTS'],
  ['Python and Go', 'SSL_CERT_FILE'],
  ['Java', 'JAVA_TOOL_OPTIONS'],
  ['curl', 'CURL_CA_BUNDLE'],
  ['Rust with native roots', 'SSL_CERT_FILE'],
];

const RESTART = 'restart the pod: cambist writes the folder when it starts, and agents read it when they start';

/** Checks the trust folder of `intercept`: its authority, the hosts that it may sign for, and the files that clients read. */
export async function checkTrust(config: Config, reporter: Reporter): Promise<void> {
  const component = { kind: 'trust', name: '' } as const;
  reporter.section(component, 'trust folder');
  const { folder, finding } = await findTrustFolder(config);
  reporter.finding(component, finding);
  if (folder === undefined) return;
  // RFC 5280 section 4.2.1.10
  const excluded = excludedRoutes(folder.certificate, config.routes);
  if (excluded.length > 0) {
    const names = excluded.map(({ name }) => `"${name}"`).join(', ');
    const what = `the name constraints of the authority exclude the hosts of routes ${names}, which are not intercepted`;
    const fix = 'use an authority that may sign for these hosts';
    reporter.finding(component, warning('trust_hosts_excluded', what, { fix }));
  }
  for (const [name, variable] of CLIENTS) {
    const why = await whyNotTrusted(variable, folder);
    const finding =
      why === undefined
        ? fine('trust_expected', `${name} finds the authority by ${variable}, in "${fileOf(variable, folder)}"`)
        : problem('trust_folder_broken', `${name} would not find the authority`, { why, fix: RESTART });
    reporter.finding({ kind: 'trust', name }, finding);
  }
}

type TrustFolder = NonNullable<Awaited<ReturnType<typeof readTrustFolder>>>;

/** @returns undefined if cambist has not written it here */
async function readTrustFolder(dir: string) {
  const certificate = await readFile(join(dir, TRUST_FILES.authority), 'utf8').catch(() => undefined);
  if (certificate === undefined || splitCertificates(certificate).length === 0) return undefined;
  const env = await readFile(join(dir, TRUST_FILES.variables), 'utf8').catch(() => '');
  const lines = [...env.matchAll(/^(\w+)='((?:[^']|'\\'')*)'$/gm)];
  const variables: Record<string, string> = Object.fromEntries(
    lines.map(([, name, value = '']) => [name, value.replaceAll("'\\''", "'")]),
  );
  return { dir, certificate, variables };
}

/** Finds the trust folder of the config, and checks its authority. */
export async function findTrustFolder({ intercept }: Config): Promise<{ folder?: TrustFolder; finding: Finding }> {
  if (intercept === undefined)
    return { finding: fine('trust_folder_missing', 'intercept is not configured, so cambist writes no trust folder') };
  const { ca, trustDir } = intercept;
  const folder = await readTrustFolder(trustDir);
  if (folder === undefined) {
    const fix = 'run doctor where cambist runs, while it runs';
    return { finding: warning('trust_folder_missing', `no trust folder in "${trustDir}"`, { fix }) };
  }
  const why = (await whyInvalid(folder)) ?? (await whyAnother(ca, folder));
  const { subject, validTo } = new X509Certificate(folder.certificate);
  const read = `"${trustDir}" has the authority ${shortAscii(subject)}, valid until ${validTo}`;
  const broken = `agents cannot trust the authority in "${trustDir}"`;
  const finding =
    why === undefined ? fine('trust_folder_read', read) : problem('trust_folder_broken', broken, { why, fix: RESTART });
  return { folder, finding };
}

/** Explains why no client accepts the authority: by its dates, or by its chain. @returns undefined if clients may accept it */
async function whyInvalid({ certificate, variables }: TrustFolder): Promise<string | undefined> {
  const authority = new X509Certificate(certificate);
  const { validFrom, validTo } = authority;
  if (Date.parse(validTo) <= Date.now()) return `its certificate expired on ${validTo}`;
  if (Date.parse(validFrom) > Date.now()) return `its certificate is not valid before ${validFrom}`;
  if (!authority.ca) return 'its certificate is not that of a certificate authority';
  const bundle = await readFile(variables.SSL_CERT_FILE ?? '', 'utf8').catch(() => '');
  const issuers = splitCertificates(`${certificate}\n${bundle}`).map((pem) => new X509Certificate(pem));
  const isChained = issuers.some((issuer) => authority.checkIssued(issuer) && authority.verify(issuer.publicKey));
  return isChained ? undefined : `its issuer ${shortAscii(authority.issuer)} is not in the folder`;
}

/** Explains why the folder has another authority than `intercept.ca`. @returns undefined if it has the same, or the key is unavailable */
async function whyAnother(ca: InterceptAuthority, { certificate }: TrustFolder): Promise<string | undefined> {
  const authority = await findInterceptAuthority(ca).catch(() => undefined);
  if (authority === undefined || authority.cert === certificate) return undefined;
  return 'it is another one than that of intercept.ca';
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

export function fileOf(variable: string, { variables }: TrustFolder): string | undefined {
  const value = variables[variable];
  if (variable !== 'JAVA_TOOL_OPTIONS') return value;
  const quoted = /'-Djavax\.net\.ssl\.trustStore=([^']*)'/.exec(value ?? '');
  return (quoted ?? /(?:^|\s)-Djavax\.net\.ssl\.trustStore=(\S+)/.exec(value ?? ''))?.[1];
}
