import type { ProxyObserver } from '../proxy/observer.ts';

/** Tells two. */
export function bothProxies(one: ProxyObserver, other: ProxyObserver): ProxyObserver {
  return {
    requestRouted(route) {
      one.requestRouted(route);
      other.requestRouted(route);
    },
    requestAnswered(route, answer) {
      one.requestAnswered(route, answer);
      other.requestAnswered(route, answer);
    },
    requestEnded(route) {
      one.requestEnded(route);
      other.requestEnded(route);
    },
    streamOpened(route) {
      one.streamOpened(route);
      other.streamOpened(route);
    },
    streamClosed(route) {
      one.streamClosed(route);
      other.streamClosed(route);
    },
    upstreamRetried(route) {
      one.upstreamRetried(route);
      other.upstreamRetried(route);
    },
    tunnelOpened(authority) {
      one.tunnelOpened(authority);
      other.tunnelOpened(authority);
    },
    tunnelClosed(authority) {
      one.tunnelClosed(authority);
      other.tunnelClosed(authority);
    },
  };
}
