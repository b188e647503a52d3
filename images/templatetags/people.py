"""Times, durations, sizes and marks for templates."""

from django import template

from common.humanize import abs_megabytes, ago, badge, difference, duration, megabytes, took

register = template.Library()
for each in (abs_megabytes, ago, badge, difference, duration, megabytes, took):
    register.filter(each.__name__, each)
