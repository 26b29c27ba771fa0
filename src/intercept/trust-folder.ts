import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { javaOptions, proxyVariables, TRUST_FILES, trustVariables } from '../config/agent-variables.ts';
import { errorCode } from '../errors.ts';
import { splitCertificates, systemRoots } from './system-roots.ts';
import { encodeTruststore } from './truststore.ts';

/**
 * Writes the certificates that an agent trusts.
 * @param authority PEM
 * @param env names the roots of the machine
 * @param unusable called with a variable whose file has no usable certificate
 * @throws {Error} for the operator
 */
export async function writeCertificates(
  dir: string,
  authority: string,
  env: Readonly<Record<string, string | undefined>>,
  unusable: (variable: string) => void,
): Promise<void> {
  const all = [...(await systemRoots(env, unusable)), ...splitCertificates(authority)];
  await write(dir, TRUST_FILES.authority, authority);
  await write(dir, TRUST_FILES.bundle, `${all.join('\n')}\n`);
  await write(dir, TRUST_FILES.truststore, encodeTruststore(all));
}

/**
 * Writes the variables that lead an agent to the proxy and to the certificates, for a shell.
 * @param proxyUrl undefined: the proxy has no URL
 */
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
