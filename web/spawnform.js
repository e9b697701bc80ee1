(function () {
  'use strict';
  var root = document.getElementById('eh-form');
  if (!root) { return; }
  function each(selector, within, f) {
    Array.prototype.forEach.call(within.querySelectorAll(selector), f);
  }
  function short(n, digits) {
    var s = n.toFixed(digits);
    return s.indexOf('.') < 0 ? s : s.replace(/0+$/, '').replace(/\.$/, '');
  }
  var fields = {};
  each('[data-eh-number]', root, function (box) {
    var number = box.querySelector('input[type=number]');
    var range = box.querySelector('input[type=range]');
    var live = box.querySelector('output');
    var d = box.dataset;
    var last = range ? Number(range.max) : 0;
    function say() {
      var limit = Number(number.value), ratio = Number(d.ratio);
      var good = number.value !== '' && isFinite(limit) && limit >= Number(d.lowest) && limit <= Number(d.highest);
      live.textContent = !good ? '' : (ratio === 1 ? d.all : d.guaranteed)
        .replace('{request}', short(limit * ratio, 2)).replace('{limit}', short(limit, 2)).replace('{unit}', limit === 1 ? d.unitOne : d.unit);
      if (range) { range.setAttribute('aria-valuetext', number.value + ' ' + d.unit); }
      pressed();
    }
    function toRange() {
      if (!range) { return; }
      var v = Number(number.value);
      range.value = v >= Number(d.highest) ? last : Math.round((v - Number(d.lowest)) / Number(d.step));
    }
    if (range) {
      range.addEventListener('input', function () {
        var i = Number(range.value);
        number.value = i === last ? d.highest : short(Number(d.lowest) + i * Number(d.step), Number(d.digits));
        say();
      });
    }
    number.addEventListener('input', function () { toRange(); say(); });
    fields[d.ehNumber] = {
      get: function () { return number.value; },
      set: function (v) { number.value = v; toRange(); say(); }
    };
    toRange();
  });
  function pressed() {
    each('[data-eh-preset]', root, function (b) {
      var same = fields.cpu && fields.memory && Number(fields.cpu.get()) === Number(b.dataset.cpu) &&
        Number(fields.memory.get()) === Number(b.dataset.memory);
      b.setAttribute('aria-pressed', same ? 'true' : 'false');
    });
  }
  each('[data-eh-preset]', root, function (b) {
    b.addEventListener('click', function () {
      fields.cpu.set(b.dataset.cpu);
      fields.memory.set(b.dataset.memory);
    });
  });
  root.classList.add('eh-scripted');
  each('[data-eh-js]', root, function (e) { e.hidden = false; });
  pressed();
})();
