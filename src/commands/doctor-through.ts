import type { Listen } from '../config/addresses.ts';
import { type Route, whyUndecidable } from '../config/route.ts';
import type { ThroughOptions } from '../doctor/check-through.ts';
import { endpointOf } from '../host-names.ts';
import { listenFrom, UsageError } from './command.ts';

interface Given extends Omit<ThroughOptions, 'route' | 'url' | 'echo'> {
  readonly route: Route | undefined;
  /** Values of the flags. */
  readonly url: string;
  readonly echo: string | undefined;
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
  if (!/^https?:\/\/[^@?#]+$/.test(url) || !URL.canParse(url))
    throw new UsageError('--through needs the URL that agents call, as in http://127.0.0.1:8080/github');
  // By default, the echo listens where the backend itself would.
  const listen: Listen =
    echo === undefined ? { kind: 'tcp', ...endpointOf(new URL(route.upstream.origin)) } : listenFrom(echo, '--echo:');
  return { ...given, route, url: new URL(url), echo: listen };
}
