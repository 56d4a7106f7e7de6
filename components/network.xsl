<?xml version="1.0"?>
<!-- What pulumi-libvirt cannot say of a network: whose it is, no dnsmasq at all, a bridge that forwards at once. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output omit-xml-declaration="yes" indent="yes"/>
  <xsl:variable name="stack"/>

  <xsl:template match="node()|@*">
    <xsl:copy><xsl:apply-templates select="node()|@*"/></xsl:copy>
  </xsl:template>
  <xsl:template match="/network">
    <xsl:copy>
      <xsl:apply-templates select="@*|name"/>
      <metadata><halab:owner xmlns:halab="urn:halab:owner" stack="{$stack}"/></metadata>
      <xsl:apply-templates select="node()[not(self::name)]"/>
    </xsl:copy>
  </xsl:template>
  <xsl:template match="/network/dns"/>
  <xsl:template match="/network/bridge">
    <xsl:copy><xsl:copy-of select="@name"/><xsl:attribute name="stp">off</xsl:attribute><xsl:attribute name="delay">0</xsl:attribute></xsl:copy>
    <dns enable="no"/>
  </xsl:template>
</xsl:stylesheet>
