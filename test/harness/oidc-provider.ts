/** Silences oidc-provider, which prints warnings about Node 20 and about its defaults. */
export function withoutWarnings<Result>(make: () => Result): Result {
  const { info, warn } = console;
  const restore = () => Object.assign(console, { info, warn });
  Object.assign(console, { info: () => {}, warn: () => {} });
  let result: Result;
  try {
    result = make();
  } catch (error) {
    restore();
    throw error;
  }
  if (result instanceof Promise) result.then(restore, restore);
  else restore();
  return result;
}

export const { Provider, errors } = await withoutWarnings(() => import('oidc-provider'));
