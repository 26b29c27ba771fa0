import type { Logger } from './logger.ts';

/**
 * Loads a catalogue of diagnoses whose faults are logged once each. The error that could not be explained reaches its caller
 * anyway, so nothing else would show them.
 */
export function logDiagnosisFaults<Catalogue extends object>(
  load: () => Promise<Catalogue>,
  logger: Pick<Logger, 'error'>,
): () => Promise<Catalogue> {
  const logged = new Set<string>();
  const report = (what: string, err: unknown): never => {
    if (!logged.has(what)) logger.error({ err }, `cannot explain a failure: ${what} of the catalogue failed`);
    logged.add(what);
    throw err;
  };
  return async () => {
    const catalogue = await load().catch((err: unknown) => report('the load', err));
    return new Proxy(catalogue, {
      get(target, name) {
        const diagnose: unknown = Reflect.get(target, name);
        if (typeof diagnose !== 'function') return diagnose;
        return (...values: unknown[]) => {
          try {
            return diagnose(...values);
          } catch (err) {
            return report(`"${String(name)}"`, err);
          }
        };
      },
    });
  };
}
