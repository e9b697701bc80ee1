// Looks again at what may have changed, and leaves alone what somebody is at.
(function () {
  'use strict';
  var main = document.getElementById('main');
  var seconds = Number(main && main.dataset.refresh);
  if (!seconds || !window.fetch || !window.DOMParser) { return; }
  function occupied() {
    var at = document.activeElement;
    return document.hidden || main.querySelector('details[open]') || at && main.contains(at) && /^(INPUT|SELECT|BUTTON|A|SUMMARY)$/.test(at.tagName) ||
      String(window.getSelection()) !== '';
  }
  function look() {
    if (occupied()) { again(); return; }
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
  function again() { setTimeout(look, seconds * 1000); }
  again();
})();
