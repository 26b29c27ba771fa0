import { type Listen, readListen, withoutBrackets } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import { type Route, whyUndecidable } from '../config/route.ts';
import type { Upstream } from '../config/urls.ts';
import type { ThroughOptions } from '../doctor/check-through.ts';
import { isB64Token } from '../tokens/token-text.ts';
import { UsageError } from './command.ts';

interface Given {
  readonly config: Config;
  readonly route: Route | undefined;
  readonly tokens: readonly string[];
  readonly agentToken: string | undefined;
  /** Values of the flags. */
  readonly url: string;
  readonly echo: string | undefined;
  readonly isStopped: boolean;
}

/** Reads what `doctor --through` needs. @throws {UsageError} if the route, a token or an address cannot be used */
export function throughOptions({ route, url, echo, ...given }: Given): ThroughOptions {
  const { config, tokens, agentToken } = given;
  if (route === undefined || tokens.length === 0 || tokens.length > 2)
    throw new UsageError('--through needs --route, and --subject-token-file once or twice');
  const why = route.credential.kind === 'passthrough' ? "it sends the caller's token" : whyUndecidable(route, true);
  if (why !== undefined) throw new UsageError(`--through cannot check route "${route.name}", because ${why}`);
  if (new Set(tokens).size < tokens.length) throw new UsageError('--through needs the tokens of two callers, or one');
  if (agentToken !== undefined && config.agents?.token === undefined)
    throw new UsageError('--agent-token-file needs agents.token in the config');
  if (![...tokens, agentToken ?? 'none'].every(isB64Token))
    throw new UsageError('--through needs bearer tokens: a file contains none, or something else');
  if (!/^https?:\/\/[^@?#]+$/.test(url) || !URL.canParse(url))
    throw new UsageError('--through needs the URL that agents call, as in http://127.0.0.1:8080/github');
  return { ...given, route, url: new URL(url), echo: echo === undefined ? addressOf(route.upstream) : readEcho(echo) };
}

function readEcho(text: string): Listen {
  const read = readListen(text);
  if ('problem' in read) throw new UsageError(`--echo: ${read.problem}`);
  return read.value;
}

/** Where the backend itself would listen. */
function addressOf({ origin }: Upstream): Listen {
  const { protocol, hostname, port } = new URL(origin);
  return { kind: 'tcp', host: withoutBrackets(hostname), port: Number(port || (protocol === 'http:' ? 80 : 443)) };
}
