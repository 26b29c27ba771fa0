import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CertificateAuthority, createCertificateAuthority } from '../harness/certificates.ts';
import type { Environment } from './contestants.ts';
import { createImage } from './image.ts';
import { startLoadProcess } from './load-process.ts';
import type { InterceptedHost } from './peers/peer.ts';
import { buildPrograms } from './programs.ts';

/** Starts the load process and writes the files that proxies need. Removes both afterwards. */
export async function withEnvironment<T>(node: string, use: (environment: Environment) => Promise<T>): Promise<T> {
  buildPrograms();
  const directory = mkdtempSync(join(tmpdir(), 'cambist-bench-'));
  const authority = createCertificateAuthority();
  const load = await startLoadProcess(authority.issueServer());
  const caFile = join(directory, 'ca.pem');
  writeFileSync(caFile, authority.cert);
  const intercepted = writeCertificate(authority, directory, caFile);
  const image = createImage(directory);
  try {
    return await use({ load, directory, caFile, node, image, intercepted });
  } finally {
    load.close();
    await image.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The certificate of proxies that terminate TLS without an authority of their own. */
function writeCertificate(authority: CertificateAuthority, directory: string, caFile: string): InterceptedHost {
  const host = 'mcp.example.com';
  const { cert, key } = authority.issueServer({ hosts: [host] });
  const [certFile, keyFile] = [join(directory, 'callers.crt'), join(directory, 'callers.key')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  return { host, certFile, keyFile, caFile };
}
