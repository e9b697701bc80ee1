// Looks again when something has changed, or may have, and leaves alone what somebody
// is at. It hears of changes while the page is in view.
(function () {
  'use strict';
  var main = document.getElementById('main');
  var seconds = Number(main && main.dataset.refresh);
  if (!seconds || !window.fetch || !window.DOMParser) { return; }
  var hears = 60; // times are in words, which grow old
  var source = null, timer = 0, looking = false;
  function occupied() {
    var at = document.activeElement;
    return document.hidden || main.querySelector('details[open]') || at && main.contains(at) && /^(INPUT|SELECT|BUTTON|A|SUMMARY)$/.test(at.tagName) ||
      String(window.getSelection()) !== '';
  }
  function later(wait) {
    clearTimeout(timer);
    timer = setTimeout(look, wait * 1000);
  }
  function again() {
    looking = false;
    later(source && source.readyState === 1 ? hears : seconds);
  }
  function look() {
    if (looking || occupied()) { later(seconds); return; }
    looking = true;
    fetch(location.href, { headers: { Accept: 'text/html' }, redirect: 'error' }).then(function (answer) {
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.text();
    }).then(function (text) {
      var fresh = new DOMParser().parseFromString(text, 'text/html').getElementById('main');
      if (fresh && !occupied()) {
        Array.prototype.forEach.call(fresh.querySelectorAll('[data-once]'), function (e) { e.remove(); });
        main.replaceChildren.apply(main, fresh.childNodes);
      }
      again();
    }, again);
  }
  function listen() {
    if (source || document.hidden || !main.dataset.live || !window.EventSource) { return; }
    source = new EventSource(main.dataset.live);
    source.onopen = function () { later(hears); };
    source.onmessage = look;
    source.onerror = function () {
      if (source && source.readyState === 2) { source = null; } // refused: look by ourselves
      later(seconds);
    };
  }
  document.addEventListener('visibilitychange', function () {
    if (!document.hidden) {
      listen();
      look();
    } else if (source) {
      source.close(); // a browser has few connections to one address
      source = null;
    }
  });
  later(seconds);
  listen();
})();
