import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { parseDuration } from '../config/units.ts';
import { reviewAdmission } from '../kubernetes/admission.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../kubernetes/option-sources.ts';
import { OptionError, parseOptions, type RawOptions } from '../kubernetes/options.ts';
import { injectPod } from '../kubernetes/pod-injection.ts';
import { POD } from '../kubernetes/pod-layout.ts';
import { readCertificate, type ServerCertificate, watchCertificate } from '../kubernetes/webhook-certificate.ts';
import { createWebhookMetrics } from '../kubernetes/webhook-metrics.ts';
import { createWebhookAdmin, createWebhookServer, renewCertificate } from '../kubernetes/webhook-server.ts';
import { openListener } from '../listeners/listen.ts';
import { createLogger } from '../observability/logger.ts';
import { readVersion } from '../version.ts';
import { type Command, EXIT, failed, listenFrom, messageOf, UsageError } from './command.ts';
import { stopSignals } from './stop-signals.ts';
import { USAGES } from './usages.ts';

/** Runs a mutating admission webhook that injects cambist, until SIGTERM or SIGINT. */
export const webhook: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: { ...INJECTION_FLAGS, ...USAGES.webhook.flags } });
  const { cert, key } = values;
  if (cert === undefined || key === undefined)
    throw new UsageError('--cert and --key are required: name the files of the certificate and its key in PEM');
  const listen = listenFrom(values.listen, '--listen');
  const admin = listenFrom(values.admin, '--admin');
  const drainMs = parseDuration(values.drain);
  if (drainMs === undefined) throw new UsageError(`--drain is "${values.drain}": must be a duration such as 5s`);
  const flags = optionsFromFlags(values);
  checkFlags(flags);

  const version = readVersion();
  const logger = createLogger('info');
  const metrics = createWebhookMetrics(version, logger.linesLost);
  let certificate: ServerCertificate;
  try {
    certificate = await readCertificate({ cert, key });
  } catch (error) {
    return failed(`cambist: ${messageOf(error)}`);
  }
  metrics.certificateLoaded(certificate.expiresAt);
  let ready = false;
  const request = { flags, version, layout: POD, optIn: true, update: false };
  const review = (body: Parameters<typeof reviewAdmission>[0]) =>
    reviewAdmission(body, (pod) => injectPod(pod, request));
  const server = createWebhookServer({ certificate, review, metrics, logger, isReady: () => ready });
  const adminServer = createWebhookAdmin(metrics, () => ready, logger);
  const signals = stopSignals();
  try {
    const where = await openListener(adminServer, admin, 'admin');
    const url = (await openListener(server, listen, 'listen')).replace(/^http:/, 'https:');
    logger.info({ version, listen: url, admin: where }, 'cambist webhook is listening');
  } catch (error) {
    await adminServer.close();
    return failed(`cambist: ${messageOf(error)}`);
  }
  ready = true;
  const watched = watchCertificate({ cert, key }, (next) => renewCertificate(server, next), { metrics, logger });
  const signal = await signals.first;
  // The API server keeps calling until Kubernetes has removed the unready pod from the Service.
  ready = false;
  logger.info({ signal, grace_ms: drainMs }, 'cambist webhook is shutting down');
  await delay(drainMs, undefined, { signal: signals.second }).catch(() => {});
  watched.close();
  await server.close();
  await adminServer.close();
  logger.info('cambist webhook has stopped');
  return signals.second.aborted ? EXIT.failed : EXIT.done;
};

/** Reports an invalid flag at the start and not with the first pod. Only the image may come from each pod. */
function checkFlags(flags: RawOptions): void {
  try {
    parseOptions({ image: 'cambist', ...flags }, (name) => `--${name}`);
  } catch (error) {
    throw error instanceof OptionError ? new UsageError(error.message) : error;
  }
}
