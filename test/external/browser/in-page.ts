/**
 * What is asked in the page, as source: it runs in the browser, whose types this project does not have.
 */

/** The elements that stick out at the right, as the beginning of their HTML. */
export const STICKING_OUT = `[...document.querySelectorAll('body *')]
  .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((element) => element.outerHTML.slice(0, 80))`;

/** Of each element with a text of its own: the beginning of its HTML, its colour, and that of what is behind it. */
export const TEXTS_AND_GROUNDS = `(() => {
  const behind = (element) => {
    const { backgroundColor } = getComputedStyle(element);
    if (backgroundColor !== 'rgba(0, 0, 0, 0)') return backgroundColor;
    return element.parentElement === null ? 'rgb(255, 255, 255)' : behind(element.parentElement);
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== ''))
    .map((element) => [element.outerHTML.slice(0, 80), getComputedStyle(element).color, behind(element)]);
})()`;
