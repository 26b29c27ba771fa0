import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import { splitCertificates } from '../listeners/tls.ts';

/** Where distributions keep the bundle of their roots. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * The roots that programs on this machine trust: those of the system, else those of Node. The files of `SSL_CERT_FILE` and
 * `NODE_EXTRA_CA_CERTS` are included.
 * @param unusable called with a variable whose file has no usable certificate
 * @returns each in PEM, without duplicates
 */
export async function systemRoots(env: NodeJS.ProcessEnv, unusable: (variable: string) => void): Promise<string[]> {
  const own = await certificatesIn(env, 'SSL_CERT_FILE', unusable);
  const roots = own.length > 0 ? own : await bundledRoots();
  return [...new Set([...roots, ...(await certificatesIn(env, 'NODE_EXTRA_CA_CERTS', unusable))])];
}

async function bundledRoots(): Promise<readonly string[]> {
  for (const bundle of BUNDLES) {
    // Distributions check their bundle. Parsing 144 certificates takes as long as a tenth of a start.
    const found = splitCertificates(await textOf(bundle));
    if (found.length > 0) return found;
  }
  return rootCertificates;
}

async function certificatesIn(
  env: NodeJS.ProcessEnv,
  variable: string,
  unusable: (variable: string) => void,
): Promise<string[]> {
  const file = env[variable];
  if (file === undefined || file === '') return [];
  const found = splitCertificates(await textOf(file)).filter(isCertificate);
  if (found.length === 0) unusable(variable);
  return found;
}

/** Empty if the file cannot be read. */
function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
