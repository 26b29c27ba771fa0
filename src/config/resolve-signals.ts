import { collide, readListen } from './addresses.ts';
import type { AuthorizationServer, Listen } from './config.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Signals, Transmitter } from './optional-sections.ts';
import { readDuration } from './quantities.ts';
import type { Loose } from './schema.ts';
import type { SignalsFile } from './schema-signals.ts';
import type { Sources } from './sources.ts';
import { toList } from './targets.ts';
import { readHttpUrl } from './urls.ts';

type TransmitterFile = NonNullable<NonNullable<Loose<SignalsFile>['transmitters']>[string]>;

/** Reads `signals`. Undefined where it is missing or has an error, which is reported to `node`. */
export function resolveSignals(
  written: Loose<SignalsFile> | undefined,
  listeners: Readonly<Record<string, Listen | undefined>>,
  servers: Iterable<AuthorizationServer | undefined>,
  node: ConfigNode,
  sources: Sources,
): Signals | undefined {
  if (written === undefined) return undefined;
  const listen = written.listen === undefined ? undefined : resolveListen(written.listen, listeners, node.at('listen'));
  const rememberMs = readDuration(written.remember ?? DEFAULTS.remember, node.at('remember'), {
    min: '1m',
    max: '720h',
  });
  const all = [...servers];
  const entries = Object.entries(written.transmitters ?? {});
  const transmitters = entries.flatMap(([name, transmitter]) =>
    transmitter === undefined
      ? []
      : (resolveTransmitter(name, transmitter, all, node.at('transmitters', name), sources) ?? []),
  );
  if (entries.length === 0 && !node.at('transmitters').broken) {
    node.error('has no transmitter: name one under transmitters, or remove signals');
  }
  if (written.listen === undefined && transmitters.some(needsListener)) {
    node.error('missing key "listen": a transmitter sends to cambist, so set the address for it');
  }
  if (written.listen !== undefined && transmitters.length > 0 && !transmitters.some(needsListener)) {
    node.at('listen').warn('has no effect: no transmitter sends to cambist: remove it', 'key');
  }
  return { listen, rememberMs, transmitters };
}

function needsListener({ delivery, backchannelLogout }: Transmitter): boolean {
  return delivery === 'push' || backchannelLogout;
}

function resolveListen(
  written: string,
  listeners: Readonly<Record<string, Listen | undefined>>,
  node: ConfigNode,
): Listen | undefined {
  const own = valueOrReport(readListen(written), node);
  for (const [key, other] of Object.entries(listeners)) {
    if (own !== undefined && other !== undefined && collide(own, other)) {
      node.error(`has the same address as ${key}: change one`);
    }
  }
  return own;
}

function resolveTransmitter(
  name: string,
  written: TransmitterFile,
  servers: readonly (AuthorizationServer | undefined)[],
  node: ConfigNode,
  sources: Sources,
): Transmitter | undefined {
  const { issuer, jwks_uri: jwksUri, delivery, authorization } = written;
  const audience = toList(written.audience);
  if (issuer === undefined || audience === undefined) return undefined;
  if (audience.length === 0) node.at('audience').error('must not be empty: name the audience of the events');
  const [key, url] = jwksUri === undefined ? ['issuer', issuer] : ['jwks_uri', jwksUri];
  valueOrReport(readHttpUrl(url, { allowInsecureHttp: false, allowQuery: jwksUri !== undefined }), node.at(key));
  const backchannelLogout = written.backchannel_logout ?? false;
  if (delivery === undefined && !backchannelLogout) {
    node.error('never gets an event: set delivery for Shared Signals, or backchannel_logout: true');
  }
  if (authorization !== undefined && delivery === undefined) {
    node.at('authorization').warn('has no effect without delivery: a logout token is its own proof: remove it', 'key');
  }
  return {
    name,
    issuer,
    audience,
    jwksUri,
    ca: servers.find((server) => server?.issuer === issuer)?.tls?.ca,
    delivery,
    authorization: sources.credential(authorization, node.at('authorization')),
    backchannelLogout,
  };
}
