import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Logger } from '../observability/logger.ts';
import { watchFiles } from '../secrets/watch.ts';
import type { WebhookMetrics } from './webhook-metrics.ts';

export type ServerCertificate = Awaited<ReturnType<typeof readCertificate>>;

interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/**
 * Reads both files and checks that they belong together: while a Secret is replaced, one file may be newer.
 * @throws {Error} with a message that names the file, without its content
 */
export async function readCertificate(files: CertificateFiles) {
  const [cert, key] = await Promise.all([read(files.cert), read(files.key)]);
  const certificate = parse(files.cert, 'certificate', () => new X509Certificate(cert));
  const privateKey = parse(files.key, 'private key', () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error(`key "${files.key}" does not belong to certificate "${files.cert}": write both files again`);
  }
  return { cert, key, expiresAt: new Date(certificate.validTo) };
}

/** Passes on each new pair. An invalid pair is logged, and the previous certificate stays in use. */
export function watchCertificate(
  files: CertificateFiles,
  take: (certificate: ServerCertificate) => void,
  { metrics, logger, pollMs }: { metrics: WebhookMetrics; logger: Logger; pollMs?: number },
): { close(): void } {
  const reload = async (): Promise<void> => {
    try {
      const certificate = await readCertificate(files);
      take(certificate);
      metrics.certificateLoaded(certificate.expiresAt);
      metrics.certificateReloaded('success');
      logger.info({ expires: certificate.expiresAt.toISOString() }, 'certificate reloaded');
    } catch (error) {
      metrics.certificateReloaded('failure');
      logger.error(
        { err: error },
        `certificate reload failed; keeping the previous certificate: ${error instanceof Error ? error.message : 'unknown reason'}`,
      );
    }
  };
  let running = Promise.resolve();
  return watchFiles({
    files: () => [files.cert, files.key],
    onChange: () => {
      running = running.then(reload);
    },
    logger,
    ...(pollMs === undefined ? {} : { pollMs }),
  });
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new Error(`file "${file}" cannot be read: mount it and make it readable for this user`, { cause });
  }
}

function parse<T>(file: string, what: string, read: () => T): T {
  try {
    return read();
  } catch {
    throw new Error(`file "${file}" is not a ${what} in PEM`);
  }
}
